//! What can be wrong with building on this host.

nixoci_core::codes! {
    /// The host is no Linux machine.
    NOT_LINUX = ("nixoci::local::not_linux", NoBackend, "this machine is not Linux",
        "The local backend builds on the machine nixoci runs on, and container images need Linux derivations: a \
         Mac cannot build them by itself. Another backend is needed, one that has a Linux machine or a Linux VM.");
    /// The host's Nix builds for other platforms than the one that was asked for.
    WRONG_PLATFORM = ("nixoci::local::wrong_platform", NoBackend, "this machine's Nix does not build for that platform",
        "Nix builds for the machine's own platform and for those in its `extra-platforms` setting. The latter \
         need an emulator that the kernel calls by itself (binfmt_misc with qemu-user): with that, a foreign \
         platform is built and run as if it were at home, only slower. Both are the administrator's to set up; \
         the remedies show how. With `[backend.local] extra-platforms = false` nixoci does not use them.");
}
