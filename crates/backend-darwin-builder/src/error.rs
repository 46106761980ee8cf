//! What can be wrong with a Mac's Linux builder, besides what the builders of every backend have in common.

nixoci_core::codes! {
    /// Nix knows no machine that builds for Linux.
    NO_BUILDER = ("nixoci::darwin_builder::none", Pending, "this Mac's Nix knows no Linux builder",
        "A Mac cannot build Linux derivations itself: its Nix sends them to a Linux machine, which is in /etc/nix/machines \
         or in the setting `builders`. Where there is none, nixoci can run one of its own for your user, without root: \
         `nixoci provision`. nix-darwin sets one up for the whole machine, with `nix.linux-builder.enable = true`; `nixoci \
         provision --write FILE` adds that to its configuration. `nixoci plan` shows the steps for this Mac.");
    /// Somebody else is at the port.
    PORT_TAKEN = ("nixoci::darwin_builder::port", Pending, "somebody else is at the Linux builder's port",
        "nixpkgs' Linux builder listens at port 31022, always, and so does every builder that is made from it. Something \
         is there already that this Mac's Nix does not know: a builder that was started by hand in a terminal, another user's, or \
         a container. Stop it, or have Nix know it.");
    /// No key pair.
    NO_KEYS = ("nixoci::darwin_builder::keys", Provision, "no key pair could be made",
        "`ssh-keygen` makes the key pair that opens nixoci's own Linux builder, in nixoci's state directory, and it failed. Its \
         own words are below the message.");
    /// nixpkgs did not give the virtual machine.
    NO_PROGRAM = ("nixoci::darwin_builder::program", Provision, "nixpkgs gave no Linux builder",
        "The virtual machine is `darwin.linux-builder` of the flake that this Mac's registry calls `nixpkgs`. Either it could \
         not be evaluated (some versions of nixpkgs had one that only Linux could have built), or not everything of it was in the \
         binary cache, and a Mac cannot build the rest. A released version of nixpkgs helps: \
         `nix registry pin nixpkgs github:NixOS/nixpkgs/nixos-25.11`.");
    /// It did not start, or not all the way.
    NO_START = ("nixoci::darwin_builder::start", Provision, "the Linux builder did not start",
        "The virtual machine ended again, or its ssh server did not answer in time, or was not the one that it should be. What its \
         console said is in the log.");
    /// It was stopped before the build began.
    STOPPED = ("nixoci::darwin_builder::stopped", NoBackend, "the Linux builder was stopped meanwhile",
        "nixoci's own Linux builder stops when nobody has used it for a while, and on `nixoci provision --stop`. That happened \
         after this nixoci had seen it run, and before it could say that it builds.");
}
