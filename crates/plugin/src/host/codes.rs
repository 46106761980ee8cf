//! The error codes of plugins.

nixoci_core::codes! {
    /// Not enabled.
    NOT_TRUSTED = ("nixoci::plugin::not_trusted", Untrusted, "the plugin is not trusted",
        "A plugin is a program that runs with your rights, so nixoci loads only those that you have said to trust: `nixoci plugin \
         trust NAME` shows what it is and notes its path and SHA-256 in your own configuration. A project may name and \
         configure a plugin, never trust it.");
    /// Other bytes than were trusted.
    CHANGED = ("nixoci::plugin::changed", Untrusted, "the plugin is not the one that was trusted",
        "The bytes of the library have another SHA-256 than the one in your configuration. If you have updated it, trust it \
         again; if not, find out who has. Nothing of it was run.");
    /// Others may write to it.
    WRITABLE = ("nixoci::plugin::writable", Untrusted, "others could change the plugin",
        "The library, or a directory above it, belongs to somebody else or may be written by others, so that what runs could be \
         another's program. Keep plugins where only you or root may write, such as ~/.local/share/nixoci/plugins, or in the \
         Nix store. Nothing of it was run.");
    /// A user's plugin as root.
    AS_ROOT = ("nixoci::plugin::as_root", Untrusted, "root does not run a user's plugin",
        "nixoci runs as root, and the library or a directory above it belongs to somebody else, who could then do anything on \
         this machine. Run nixoci as yourself, or install the plugin where only root may write. Nothing of it was run.");
    /// Downloaded by a browser.
    QUARANTINED = ("nixoci::plugin::quarantined", Untrusted, "macOS has the plugin in quarantine",
        "The file has the attribute com.apple.quarantine: it was downloaded, and nobody has confirmed it. If it is what you \
         think it is, take the attribute away as the remedy says. Nothing of it was run.");
    /// A link where a file was.
    LINK = ("nixoci::plugin::link", Untrusted, "a symbolic link is in the place of the plugin",
        "What was trusted was a file at this path; now the path leads through a symbolic link. If that is meant, trust the \
         plugin again. Nothing of it was run.");
    /// No such plugin.
    NOT_FOUND = ("nixoci::plugin::not_found", Config, "the plugin is not there",
        "A plugin called NAME is a file libnixoci_backend_NAME.so (.dylib on macOS) in one of the directories that `nixoci plugin \
         list` names, or any file that `nixoci plugin trust FILE` is given. A plugin that you have trusted is looked for where \
         it was then.");
    /// Several of one name.
    AMBIGUOUS = ("nixoci::plugin::ambiguous", Config, "there are several plugins of that name",
        "Directories of plugins hold different libraries for one name, and nixoci does not guess which one you mean: name the file.");
    /// A name that it may not have.
    BAD_NAME = ("nixoci::plugin::name", Config, "a plugin may not have that name",
        "The name of a plugin is lower-case words with dashes, is no name of a built-in backend, and is the same in the name of the file \
         and in what the plugin says of itself.");
    /// The user's configuration cannot be written.
    PINS = ("nixoci::plugin::pins", Config, "your configuration could not be changed",
        "What you trust is kept in [plugins] of ~/.config/nixoci/config.toml. That file could not be changed (it may be made by \
         home-manager, or lie in the Nix store): add the lines yourself, where you keep it.");
    /// No library for this machine.
    LIBRARY = ("nixoci::plugin::library", Plugin, "the file is no library that can be loaded here",
        "A plugin is a dynamic library for the operating system and CPU that nixoci runs on (on a Mac: for nixoci's own CPU, which `file \
         $(which nixoci)` tells), and everything that it needs has to be there. The cause says what is wrong.");
    /// Another ABI.
    ABI = ("nixoci::plugin::abi", Plugin, "the plugin speaks another version than this nixoci",
        "nixoci and a plugin agree on a version by the name of a function in the library, nixoci_backend_v1, and by a minor number that \
         the plugin needs at least. A newer nixoci knows all older versions; for a plugin that needs a newer one, update nixoci.");
    /// It does not describe itself well.
    DESCRIPTION = ("nixoci::plugin::description", Plugin, "the plugin does not say well what it is",
        "What a plugin says of itself (its name, its settings) is not what it has to be. That is for the plugin's author to mend; \
         `nixoci plugin check FILE` tells everything that is wrong with it.");
    /// It says what cannot be understood.
    GARBLED = ("nixoci::plugin::garbled", Plugin, "the plugin says something that cannot be understood",
        "An answer or an event of the plugin is not of the documented form. That is for the plugin's author to mend; `nixoci \
         plugin check FILE` helps to find it.");
    /// Its process has ended.
    DIED = ("nixoci::plugin::died", Plugin, "the plugin's process has ended",
        "Each plugin runs in a process of its own, and that process has crashed or ended in the middle of its work. nixoci and what it \
         had already done are unharmed. The last lines that the plugin wrote are shown; it is for its author to mend.");
    /// It panicked.
    PANICKED = ("nixoci::plugin::panicked", Plugin, "the plugin panicked",
        "A part of the plugin that must not fail has failed, at the place that is shown. That is for the plugin's author to mend.");
    /// It does not answer.
    NO_ANSWER = ("nixoci::plugin::no_answer", Plugin, "the plugin does not answer",
        "The plugin did not answer a question within its time, and its process was ended. Questions, such as what it could \
         build, have a time limit; builds have none but yours (--timeout, Ctrl-C).");
    /// It cannot do that.
    UNSUPPORTED = ("nixoci::plugin::unsupported", Plugin, "the plugin cannot do that",
        "The plugin does not know something that is asked of every backend.");
    /// A transfer from it broke.
    TRANSFER = ("nixoci::plugin::transfer", Transfer, "the plugin did not hand over what was built",
        "What the plugin writes to nixoci (a NAR) ended early, or is of another length than the plugin says. nixoci reads it once \
         more by itself; if it happens again, it is for the plugin's author to mend.");
    /// It does not keep the contract.
    CONTRACT = ("nixoci::plugin::contract", Plugin, "the plugin does not keep the contract",
        "`nixoci plugin check` has found rules of the contract that the plugin breaks. They are listed; the contract is explained in \
         the documentation, docs/plugins/contract.md.");
}
