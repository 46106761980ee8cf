//! What can be wrong with the builders of a Mac.

nixoci_core::codes! {
    /// The host is no Mac.
    NOT_MAC = ("nixoci::mac::not_mac", NoBackend, "this machine is not a Mac",
        "The backends darwin-builder and rosetta use the Linux builders of a Mac. A Linux machine builds for itself: that is \
         the backend `local`.");
    /// No machine builds for this system.
    WRONG_SYSTEM = ("nixoci::mac::system", NoBackend, "no Linux builder builds for that platform",
        "Every machine that Nix knows has a list of systems, the second field of its line in /etc/nix/machines. nix-darwin's \
         builder has the Mac's own CPU unless `nix.linux-builder.systems` says more, and needs Rosetta for x86_64 \
         (`pkgs.darwin.linux-builder-vz`, or nix-rosetta-builder).");
    /// It did not start.
    ASLEEP = ("nixoci::mac::asleep", NoBackend, "the builder did not wake up",
        "The builder's virtual machine starts when somebody connects, and it did not come up in time. Its own log says why; \
         nix-rosetta-builder's usual reason is that Rosetta is not installed.");
}
