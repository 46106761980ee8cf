//! What can go wrong with a guest: a virtual machine that has a Nix of its own.

nixoci_core::codes! {
    /// A file of the project cannot be read or sent.
    SOURCES = ("nixoci::guest::sources", Transfer, "the project cannot be sent to the virtual machine",
        "Nix runs in a virtual machine, and has to see the project there: nixoci sends the files that Nix would see on this \
         host. Reading them here, or writing them there, failed.");
    /// Git cannot be asked.
    GIT = ("nixoci::guest::git", ToolMissing, "Git does not say what belongs to the project",
        "Of a project in a Git repository a flake sees what Git tracks, and nixoci asks `git` for that, on this host.");
    /// More than is sent.
    TOO_MUCH = ("nixoci::guest::too_much", Config, "the project is too big to be sent",
        "Outside of a Git repository all files of the directory are sent to the virtual machine, up to a limit: a home directory \
         is no project.");
    /// A flake's input is on this host, in a form that cannot be sent.
    LOCAL_INPUT = ("nixoci::guest::local_input", Evaluation, "an input of the flake is on this host, and cannot be sent",
        "An input that is a directory of this host (`path:/…`) is sent along. One with the URL of a repository (`git+file:`) cannot be sent with \
         its history, one by a relative path is seen only inside of what its flake is in, one in the project that Git does not track is not sent \
         with it, and directories of the system's are the virtual machine's own.");
    /// The guest takes nothing.
    STALLED = ("nixoci::guest::stalled", Transfer, "sending to the virtual machine stalled",
        "The connection to the virtual machine is there, but it took nothing of what was sent for --stall-timeout (60 s). A project is sent once more before this is an error. The virtual machine \
         hangs, its disk does, or the network between them. A longer --stall-timeout helps where it needs minutes to begin.");
    /// What [credentials] names is not there.
    CREDENTIALS = ("nixoci::guest::credentials", Permission, "what [credentials] names is not there",
        "[credentials] in your own configuration names a token, a netrc file or the ssh agent, which a virtual machine may use for the time of a \
         build. One of them is missing.");
    /// The guest does not know what was set up.
    NOT_SET_UP = ("nixoci::guest::not_set_up", Provision, "the virtual machine is not set up",
        "Setting up a virtual machine installs Nix in it, gives it settings and a way to switch itself off when nobody uses it.");
    /// Setting it up failed.
    SET_UP = ("nixoci::guest::set_up", Provision, "the virtual machine could not be set up",
        "nixoci runs a script as root in the virtual machine, which installs Nix. It can be run again: what was done is not done twice.");
    /// The guest cannot resolve names.
    DNS = ("nixoci::guest::dns", Provision, "the virtual machine does not find names on the network",
        "What is to be installed is downloaded, and the virtual machine cannot resolve host names. Reasons on a Mac are a VPN, and \
         programs that own port 53 there (dnscrypt-proxy, Cisco Umbrella, dnsmasq).");
    /// No Nix that is new enough.
    NO_NIX = ("nixoci::guest::no_nix", Provision, "there is no Nix to install that is new enough",
        "nixoci needs Nix 2.24. Ubuntu 26.04 has it as a package; in older releases nixoci installs Nix with NixOS's installer, which exists for \
         x86_64 and aarch64. For another CPU name an installer, with its SHA-256.");
    /// The installer is not the one that was meant.
    INSTALLER = ("nixoci::guest::installer", Provision, "the installer of Nix is not as expected",
        "An installer of Nix runs as root in the virtual machine, so its SHA-256 is compared before it runs. nixoci knows the one of NixOS's installer \
         that it uses for older releases of Ubuntu; that of another installer is given in nixoci's settings.");
    /// The kernel ended a build for want of memory.
    OUT_OF_MEMORY = ("nixoci::guest::out_of_memory", Build, "the virtual machine has too little memory for this build",
        "The kernel of the virtual machine says that it killed a process of the build because memory had run out.");
    /// The disk is full.
    DISK_FULL = ("nixoci::guest::disk_full", Build, "the disk of the virtual machine is full",
        "Garbage was collected, and there is still too little room for a build.");
}
