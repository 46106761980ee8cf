//! What can be wrong with a Mac's Linux builder.

nixoci_core::codes! {
    /// The host is no Mac.
    NOT_MAC = ("nixoci::darwin_builder::not_mac", NoBackend, "this machine is not a Mac",
        "The backend darwin-builder uses the Linux builder of a Mac. A Linux machine builds for itself: that is the backend \
         `local`.");
    /// Nix knows no machine that builds for Linux.
    NO_BUILDER = ("nixoci::darwin_builder::none", Pending, "this Mac's Nix knows no Linux builder",
        "A Mac cannot build Linux derivations itself: its Nix sends them to a Linux machine, which is in /etc/nix/machines \
         or in the setting `builders`. nix-darwin sets one up, a small virtual machine, with `nix.linux-builder.enable = \
         true`. `nixoci plan` shows the steps for this Mac.");
    /// No machine builds for this system.
    WRONG_SYSTEM = ("nixoci::darwin_builder::system", NoBackend, "no Linux builder builds for that platform",
        "Every machine that Nix knows has a list of systems, the second field of its line in /etc/nix/machines. nix-darwin's \
         builder has the Mac's own CPU unless `nix.linux-builder.systems` says more, and needs Rosetta for x86_64 \
         (`pkgs.darwin.linux-builder-vz`, or nix-rosetta-builder).");
    /// It does not answer.
    UNREACHABLE = ("nixoci::darwin_builder::unreachable", NoBackend, "the Linux builder does not answer",
        "The machine is in Nix's list, but nothing answers where ssh would connect to: the virtual machine is down, still \
         starting (about 20 seconds), or hangs after the Mac has slept. Restarting it helps in all these cases.");
}
