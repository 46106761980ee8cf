//! What can be wrong with cross compilation.

nixoci_core::codes! {
    /// Nothing to cross.
    NATIVE = ("nixoci::cross::native", NoBackend, "this machine builds for that platform itself",
        "Cross compilation is for another platform than this machine's own. For its own there is the backend local.");
    /// No compiler for it.
    SYSTEM = ("nixoci::cross::system", NoBackend, "nixoci crosses to x86_64-linux and aarch64-linux",
        "nixpkgs has cross compilers for more platforms. Whoever needs one gives the flake an attribute for it, and names that in \
         `[backend.cross] attr`.");
    /// Too much work.
    TOO_MUCH = ("nixoci::cross::too_much", NoBackend, "cross compilation would build too much on this machine",
        "What is crossed is in no binary cache, but for the compilers of some platforms. nixoci counts what would be built before it begins, \
         and lets the next backend have the build where that is more than `[backend.cross] max-local-builds` (50), or \
         --max-local-builds.");
    /// No nixpkgs to replace.
    NO_NIXPKGS = ("nixoci::cross::no_nixpkgs", Evaluation, "the flake takes no nixpkgs that could be replaced",
        "An unmodified flake is crossed by giving it another nixpkgs. Inputs are replaced that are nixpkgs, under any name; what a flake \
         fetches by itself, or has built elsewhere, is not.");
    /// A file of nixpkgs, by its path.
    NIXPKGS_PATH = ("nixoci::cross::nixpkgs_path", Evaluation, "the flake reads a file of nixpkgs by its path, which cannot be crossed",
        "An unmodified flake is crossed by giving it another nixpkgs, whose packages are those for the other platform. Its files are not there: \
         `import (nixpkgs + \"/lib\")` and `\"${nixpkgs}/nixos/lib/eval-config.nix\"` find nothing. `nixpkgs.lib` works, and so do \
         `nixpkgs.legacyPackages` and `import nixpkgs { … }`. A Linux machine builds the flake as it is.");
    /// The settings name what is not there.
    ATTR = ("nixoci::cross::attr", Config, "the flake has no attribute that `[backend.cross] attr` names",
        "`attr` says which attribute of the flake is an image for the other platform. In it `{host}` stands for this machine's system, `{target}` \
         for the one that it is for, `{arch}` for its architecture as images name it, `{cpu}` as Nix does, and `{name}` for what was asked for. Without `attr` \
         nixoci looks for what people call such attributes, and else crosses the project by itself.");
    /// It has to run what it has made.
    NEEDS_LINUX = ("nixoci::cross::needs_linux", Evaluation, "the project needs a Linux machine while it is built",
        "`runAsRoot`, `enableFakechroot` and `exportImage` run Linux programs while an image is made, and so does whatever is still for Linux itself after \
         nixpkgs was replaced: an import from a derivation, an input's own packages. This machine cannot run those.");
    /// It ran what it has made.
    RUNS_IT = ("nixoci::cross::runs_it", Build, "a build runs a program that it has made for the other platform",
        "What is compiled for another platform does not run on this machine. Something does that all the same in a build: a test, a generator, \
         `extraCommands`. nixpkgs' `buildPackages` has programs for the machine that builds; without that, a Linux machine has to build it.");
    /// The project refuses.
    ASSERTS = ("nixoci::cross::asserts", Evaluation, "the project refuses to be crossed",
        "An `assert` or a `throw` of the project's compares systems. When it is crossed, what builds it (`stdenv.buildPlatform`, \
         `builtins.currentSystem`) is this machine, and what it is for (`stdenv.hostPlatform`) is the platform that was asked for.");
}
