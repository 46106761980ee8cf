//! What can be wrong with Multipass and its virtual machines.

nixoci_core::codes! {
    /// The program is not there.
    MISSING = ("nixoci::multipass::missing", ToolMissing, "Multipass is not installed",
        "The backend multipass builds in a virtual machine that Multipass runs, and the program `multipass` was not found on \
         PATH. On a Mac it is installed by its package from multipass.run, or by Homebrew.");
    /// It is older than what is understood.
    TOO_OLD = ("nixoci::multipass::too_old", ToolMissing, "Multipass is too old",
        "nixoci needs Multipass 1.14 or newer, the first that can switch a virtual machine off by force; 1.16.3 or newer is better on recent Macs.");
    /// The daemon does not answer.
    DAEMON_DOWN = ("nixoci::multipass::daemon_down", NoBackend, "the Multipass daemon does not answer",
        "`multipass` is a client; multipassd, which runs as root, does the work, and its socket does not answer. It may have \
         crashed, or not be started yet. Its log on a Mac is /Library/Logs/Multipass/multipassd.log.");
    /// Its socket is closed to the user.
    SOCKET_DENIED = ("nixoci::multipass::socket_denied", Permission, "the Multipass daemon may not be used",
        "Until a first user was accepted, the daemon's socket is open to administrators only.");
    /// The client is not known to it.
    UNAUTHENTICATED = ("nixoci::multipass::unauthenticated", Permission, "Multipass does not know this user",
        "The daemon asks for a passphrase before it serves a new user. The client's certificate is in the home directory: \
         another HOME (sudo, a CI user) is another user to it.");
    /// The virtual machine cannot be reached, though the daemon knows it.
    NO_ROUTE = ("nixoci::multipass::no_route", NoBackend, "the virtual machine cannot be reached from this program",
        "`multipass list` works, because the daemon answers; nixoci, and `multipass exec`, connect to the virtual machine themselves, by ssh. On \
         macOS 15 and newer the terminal needs the permission Local Network for that; a VPN that owns 192.168 is another reason.");
    /// No such virtual machine.
    ABSENT = ("nixoci::multipass::absent", NoBackend, "the virtual machine does not exist",
        "Multipass has no instance of that name. `nixoci provision --backend multipass` makes it.");
    /// Deleted, but its name is taken.
    DELETED = ("nixoci::multipass::deleted", NoBackend, "the virtual machine is deleted",
        "A deleted instance keeps its name until it is purged, and can be recovered until then.");
    /// Its state is unknown.
    UNKNOWN_STATE = ("nixoci::multipass::unknown_state", NoBackend, "the virtual machine is in an unknown state",
        "It runs, but does not answer: after the host has slept, or when it got no address. Stopping it by force and starting it \
         again helps.");
    /// Its zone is switched off.
    ZONE_OFF = ("nixoci::multipass::zone", NoBackend, "the zone of the virtual machine is switched off",
        "Since 1.17, Multipass keeps virtual machines in zones, which stand for the parts of a cloud that fail together. `multipass disable-zones` \
         makes those in a zone unavailable until the zone is switched on again.");
    /// Somebody else has Multipass make it.
    PREPARING = ("nixoci::multipass::preparing", Provision, "the virtual machine is still being prepared",
        "Another launch has taken the name: Multipass fetches the image and makes the disk, and tells nobody of the virtual machine until it \
         starts. That may be a nixoci that was stopped, whose launch goes on in Multipass's daemon. nixoci waits for it, up to `timeout`.");
    /// It did not answer in time.
    SLOW = ("nixoci::multipass::timed_out", Provision, "the virtual machine did not answer in time",
        "It was started, but its ssh server did not answer, or its first boot did not end, within the time limit. It exists, and \
         goes on starting.");
    /// A name that cannot be.
    BAD_NAME = ("nixoci::multipass::name", Config, "not a name for a virtual machine",
        "Names are letters, digits and dashes, and begin with a letter.");
    /// A size that cannot be.
    BAD_SIZE = ("nixoci::multipass::size", Config, "not a size for a virtual machine",
        "Sizes are numbers with K, M or G; memory is at least 128M and the disk at least 512M (512M and 1G from Multipass 1.17 on), and a disk does not shrink.");
    /// The image cannot be had.
    NO_IMAGE = ("nixoci::multipass::image", Provision, "the image of the virtual machine cannot be fetched",
        "Multipass downloads Ubuntu's cloud images. There is none of that name, or there is no way to the server.");
    /// Mounts are switched off.
    NO_MOUNTS = ("nixoci::multipass::mounts", NoBackend, "Multipass does not mount directories here",
        "Mounts are switched off in this installation. Without them, nixoci sends the sources itself, which is the default.");
    /// It was there, and is not any more.
    LOST = ("nixoci::multipass::lost", Transfer, "the connection to the virtual machine was lost",
        "A command that ran in the virtual machine ended without saying how: the virtual machine was switched off or crashed, or the \
         host's network changed (a VPN, sleep). What was built to its end is kept there.");
    /// Somebody else's.
    NOT_OURS = ("nixoci::multipass::not_ours", NoBackend, "the virtual machine is not nixoci's",
        "nixoci writes into a virtual machine that it makes who made it (/etc/nixoci/vm.json). One of the same name without that is \
         somebody else's, and is neither set up nor stopped nor deleted. So is one whose id in that file is not the one that nixoci remembers, when it \
         is to be stopped, enlarged or deleted. One that is off is started for the look.");
    /// It was launched, and not told what it is.
    FIRST_BOOT = ("nixoci::multipass::first_boot", Provision, "the virtual machine's first boot did not do what it was told",
        "`multipass launch` says that a virtual machine is launched also when cloud-init failed in it, or ignored its orders. nixoci looks \
         for the file that they were to write, /etc/nixoci/vm.json, and it is not there.");
    /// Somebody builds in it.
    BUSY = ("nixoci::multipass::busy", Provision, "another build runs in the virtual machine",
        "To give a virtual machine more memory or disk it has to be stopped, and a build of another nixoci runs in it. It is not ended for \
         that.");
    /// Another CPU.
    WRONG_CPU = ("nixoci::multipass::cpu", NoBackend, "a virtual machine of Multipass's has this machine's CPU",
        "Multipass runs virtual machines of the host's own CPU architecture. For the other one there are the backends rosetta (on a \
         Mac with Apple's CPU) and remote, which need Nix on this machine; or `emulate = true`, which is many times slower.");
    /// No way in by ssh.
    KEY = ("nixoci::multipass::key", Provision, "nixoci cannot log in to the virtual machine",
        "nixoci logs in to the virtual machine with a key of its own, which ssh-keygen makes, and which the virtual machine knows from its first boot \
         on. It lies in nixoci's state directory, in multipass/NAME. A virtual machine that an older nixoci made is told of it through `multipass exec`.");
    /// Another host key.
    HOST_KEY = ("nixoci::multipass::host_key", NoBackend, "the virtual machine shows another host key",
        "nixoci gives a virtual machine its host key when it launches it, and accepts no other afterwards. Another machine may have got the address, \
         a VPN or a network may lead there, or somebody has made new host keys in the virtual machine.");
    /// ssh alone does not get there.
    SSH = ("nixoci::multipass::ssh", NoBackend, "ssh does not reach the virtual machine",
        "A small command through `multipass exec` reaches the virtual machine, and ssh does not: a firewall with rules for programs stops \
         ssh alone. nixoci needs ssh: `multipass exec` loses input beyond 2 MiB, and its output gets stuck.");
    /// A mount that shows nothing.
    MOUNT = ("nixoci::multipass::mount", Provision, "the virtual machine does not see the project through its mount",
        "With `sources = \"mount\"` the virtual machine reads the project's files through Multipass's daemon, which runs as root. macOS shows \
         it Documents, Desktop, Downloads and removable disks as empty unless it has Full Disk Access.");
    /// Something else.
    FAILED = ("nixoci::multipass::failed", Provision, "Multipass failed",
        "Multipass reported an error that nixoci does not know. Its own words are below the message.");
    /// An answer that is not understood.
    UNEXPECTED = ("nixoci::multipass::unexpected", Unexpected, "Multipass answered in an unknown form",
        "A command succeeded, but its output is not what 1.16 and 1.17 print. Most likely this Multipass is newer than this nixoci.");
}
