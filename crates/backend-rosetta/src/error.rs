//! What can be wrong with a builder for both CPUs.

nixoci_core::codes! {
    /// An Intel Mac.
    INTEL = ("nixoci::rosetta::intel", NoBackend, "Rosetta runs on Apple silicon only",
        "Rosetta translates x86_64 programs for Apple's own CPUs; there is nothing that runs the programs of Apple silicon on \
         an Intel Mac at that speed. An Intel Mac builds linux/amd64 with the backend darwin-builder, and linux/arm64 on \
         another machine (backend remote) or by emulation (`boot.binfmt.emulatedSystems` in the builder).");
    /// No builder has both CPUs.
    NONE = ("nixoci::rosetta::none", Pending, "no builder of this Mac runs both CPUs' programs",
        "The backend rosetta uses a virtual machine on this Mac that runs arm64 programs natively and x86_64 programs by \
         Rosetta: nixpkgs' `linux-builder-vz`, nix-rosetta-builder, or virby. `nixoci plan --backend rosetta` shows the steps.");
    /// Rosetta is not installed.
    MISSING = ("nixoci::rosetta::missing", Pending, "Rosetta is not installed",
        "macOS installs Rosetta on demand. Without it the builder's virtual machine may not even start: nix-rosetta-builder then \
         only shows `kex_exchange_identification: read: Connection reset by peer`.");
}
