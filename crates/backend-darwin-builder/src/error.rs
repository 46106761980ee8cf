//! What can be wrong with a Mac's Linux builder, besides what the builders of every backend have in common.

nixoci_core::codes! {
    /// Nix knows no machine that builds for Linux.
    NO_BUILDER = ("nixoci::darwin_builder::none", Pending, "this Mac's Nix knows no Linux builder",
        "A Mac cannot build Linux derivations itself: its Nix sends them to a Linux machine, which is in /etc/nix/machines \
         or in the setting `builders`. nix-darwin sets one up, a small virtual machine, with `nix.linux-builder.enable = \
         true`. `nixoci plan` shows the steps for this Mac.");
}
