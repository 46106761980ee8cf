//! What can go wrong between the stations of the pipeline.

nixoci_core::codes! {
    /// A platform that Nix has no name for, or that is no Linux.
    NO_SYSTEM = ("nixoci::platform::no_system", Usage, "Nix cannot build for that platform",
        "Containers are Linux, and Nix builds for the CPUs it has a system name for: linux/amd64, linux/arm64, \
         linux/arm/v7, linux/386, linux/riscv64, linux/ppc64le, linux/s390x.");
    /// A backend that was made ready does not build.
    NOT_PROVEN = ("nixoci::provision::not_proven", Provision, "the backend was made ready, and does not build",
        "Every step of provisioning went well, and then `nixoci provision` had the backend build something tiny and read \
         it back, which failed. The cause is that of the tiny build. `nixoci doctor --build` tries it again.");
    /// Credentials that a project was not given.
    NOT_ENTRUSTED = ("nixoci::credentials::not_agreed", Untrusted, "the project was not given your credentials",
        "[credentials] in your config.toml names a token, passwords or your ssh agent, with which a virtual machine's Nix opens \
         private sources. The project's expressions are evaluated with them, and could read them, so nixoci asks once for each \
         project, and remembers the answer in $XDG_STATE_HOME/nixoci/trusted-projects.json. `nixoci config untrust` in the \
         project takes it back. In CI, --trust-project or NIXOCI_TRUST_PROJECT=true agrees for that command.");
    /// Images in a runtime that were not replaced.
    NOT_REPLACED = ("nixoci::runtime::not_replaced", Untrusted, "an image of that name was not loaded by nixoci",
        "nixoci.toml has the image loaded into a container runtime, under names that the project chose. The runtime has an image of such a \
         name already, which nixoci did not load: it may be something that you need, such as postgres:16. On a terminal nixoci asks; \
         elsewhere nothing is loaded. --load and `nixoci load` load it without a question. The image itself is built, and kept.");
    /// Nobody agreed to a removal.
    NOT_REMOVED = ("nixoci::provision::not_removed", Pending, "nobody agreed to the removal",
        "`nixoci provision --remove` undoes what provisioning did: virtual machines with everything that was built in them \
         go. On a terminal it asks; elsewhere it needs --yes.");
    /// Nobody agreed to a change of a file.
    NOT_WRITTEN = ("nixoci::provision::not_written", Pending, "nobody agreed to the change",
        "`nixoci provision --write FILE` shows what it would add to the file, and asks on a terminal; elsewhere it needs --yes. \
         Without that the file stays as it is.");
    /// No backend has anything to write.
    NOTHING_TO_WRITE = ("nixoci::provision::nothing_to_write", NoBackend, "there is nothing to write for that backend",
        "`nixoci provision --write FILE` adds a Linux builder to the configuration of a Mac that nix-darwin manages. The backends \
         darwin-builder and rosetta have such a configuration, and only on a Mac.");
    /// The build made more or less than one thing.
    NOT_FOUND_AGAIN = ("nixoci::fetch::vanished", Transfer, "what was built is gone",
        "The build reported a store path, but its store does not know it any more. Something (a garbage collection \
         without respect for roots, a builder that was reset) removed it. Build again.");
    /// A backend moved fewer or other bytes than it promised.
    SHORT_FETCH = ("nixoci::fetch::short", Transfer, "the transfer from the backend broke off",
        "The image did not arrive whole: the stream from the backend ended early, or what arrived is not what \
         the store has. Nothing of it was kept. Build again: finished store paths are still there.");
    /// Nothing arrives.
    STALLED = ("nixoci::fetch::stalled", Transfer, "the transfer from the backend stands still",
        "The connection to the machine that built the image is there, but nothing came over it for --stall-timeout (60 s), twice. \
         The machine sleeps, its disk or its network hangs, or a program on the way keeps what it was given. What was built is still \
         there: build again. A longer --stall-timeout helps where a machine needs minutes to begin.");
    /// A script that should have written an image.
    SCRIPT_FAILED = ("nixoci::image::script_failed", Image, "the image's script failed",
        "`streamLayeredImage` makes a program that writes the image. It was built, and nixoci ran it on this machine, as \
         `./result | docker load` would have, but it wrote no whole image. It is made for one platform and runs there \
         only. `buildLayeredImage` takes the same arguments and leaves an archive.");
    /// No runtime runs.
    RUNTIME_NONE = ("nixoci::runtime::none", Delivery, "no container runtime is running",
        "`--load` without a name takes the first runtime that answers: Docker, Podman, containerd, Apple's \
         container. None did; the message says why for each. kind, k3d and minikube are taken only when they are \
         named. nixoci asks before it builds, so nothing was done.");
}
