//! What keeps ssh from a machine.

nixoci_core::codes! {
    /// The name is not known.
    UNRESOLVED = ("nixoci::ssh::unresolved", NoBackend, "the machine's name is not known",
        "ssh was given a name that neither its configuration (~/.ssh/config, /etc/ssh/ssh_config) nor the network knows. \
         A name from Tailscale or another VPN is only known while that is connected.");
    /// Nothing listens.
    REFUSED = ("nixoci::ssh::refused", NoBackend, "nothing listens where the machine should be",
        "The address exists, but no program listens on the port: the machine or its virtual machine is down or still \
         starting (a Linux builder takes about 20 seconds), or its ssh server is on another port.");
    /// Packets go nowhere.
    UNREACHABLE = ("nixoci::ssh::unreachable", NoBackend, "the machine cannot be reached",
        "No answer comes from the address: the machine is off, in another network, or behind a firewall or a VPN that is \
         not connected.");
    /// A connection, and no word.
    SILENT = ("nixoci::ssh::silent", NoBackend, "something accepts connections and says nothing",
        "The connection stands, but no ssh server speaks: the virtual machine behind a forwarded port is starting or \
         hangs (after the Mac has slept, for example). Restarting it helps.");
    /// A connection that is closed at once.
    CLOSED = ("nixoci::ssh::closed", NoBackend, "the connection is closed before ssh has spoken",
        "Something accepts the connection and ends it: a forwarded port whose virtual machine is not up yet (or cannot \
         start, as nix-rosetta-builder without Rosetta), or an ssh server that refuses this address for a while because \
         of failed logins.");
    /// Another protocol.
    NOT_SSH = ("nixoci::ssh::not_ssh", NoBackend, "what answers is no ssh server",
        "A program listens there, but it speaks another protocol: the port is probably wrong.");
    /// A machine that nobody has spoken to yet.
    HOST_KEY_UNKNOWN = ("nixoci::ssh::host_key_unknown", NoBackend, "the machine's host key is not known",
        "ssh has never been told which key the machine has, and nixoci does not accept one by itself: anybody could pretend \
         to be the machine. Log in once by hand and compare, or write the key into the builder's `host-key`.");
    /// Another machine, or a new key.
    HOST_KEY_CHANGED = ("nixoci::ssh::host_key_changed", NoBackend, "the machine has another host key than expected",
        "Either somebody is in between, or the machine was set up anew and has a new key, as a virtual machine does whose \
         disk was removed. Compare before you accept it.");
    /// The key that should open the door.
    KEY_UNREADABLE = ("nixoci::ssh::key_unreadable", Permission, "the private key cannot be read",
        "The key that logs in to the machine belongs to somebody else: nix-darwin's /etc/nix/builder_ed25519 is root's. The \
         transport `daemon` needs no key: there the Nix daemon, which is root, connects.");
    /// The door stays closed.
    KEY_REFUSED = ("nixoci::ssh::key_refused", Permission, "the machine refuses the login",
        "ssh reached the machine, and none of the keys it offered opens it: the key is not in the account's \
         authorized_keys, the account is another one, or the key has a passphrase and no agent holds it (nixoci cannot ask \
         for one in the middle of a build).");
    /// ssh's own configuration.
    BAD_CONFIG = ("nixoci::ssh::config", Config, "ssh's configuration is wrong",
        "ssh could not read its configuration, or refuses it because others may write it. The line and the file are named \
         below.");
    /// ssh failed in another way.
    FAILED = ("nixoci::ssh::failed", NoBackend, "ssh could not connect",
        "ssh gave up for a reason that nixoci does not know. Its own words are below the message.");
    /// Nix is not there, or ssh's sessions do not find it.
    NO_NIX = ("nixoci::ssh::no_nix", NoBackend, "the machine has no Nix that ssh finds",
        "A store of another machine is reached by running `nix-daemon --stdio` there. A session that ssh opens for a command \
         reads no login files, so that PATH may lack Nix even where a login shell has it: `remote-program` names the program.");
}
