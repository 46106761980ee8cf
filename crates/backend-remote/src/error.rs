//! What can be wrong with machines elsewhere.

nixoci_core::codes! {
    /// There is no machine to build on.
    NONE = ("nixoci::remote::none", NoBackend, "no machine is configured",
        "The backend remote builds on Linux machines that are reached by ssh: those in `[backend.remote] builders`, or in the \
         file that `from` names, or else those that Nix knows already (/etc/nix/machines, the setting `builders`).");
    /// No machine builds for this system.
    SYSTEM = ("nixoci::remote::system", NoBackend, "no machine builds for that platform",
        "Every machine has a list of systems: `systems` in nixoci.toml, or what its own Nix says when there is none \
         (`system` and `extra-platforms`).");
    /// The list cannot be read.
    LIST = ("nixoci::remote::list", Config, "the list of machines cannot be read",
        "`[backend.remote] from` names a file in the form of /etc/nix/machines: one machine a line.");
}
