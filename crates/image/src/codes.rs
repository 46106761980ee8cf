//! The error and warning codes of this crate.

nixoci_core::codes! {
    /// No image where one was named.
    NOT_FOUND = ("nixoci::image::not_found", Image, "there is no such image file",
        "The path that was given as an image does not exist. If it is a link such as ./result, what it points to \
         may have been collected: build it again.");
    /// The source of an image could not be read to its end.
    READ_FAILED = ("nixoci::image::read_failed", Transfer, "the image could not be read",
        "The operating system, or the connection to the builder, failed while the image was being read. The cause \
         names the reason. Nothing was written.");
    /// Something that is no image.
    NOT_AN_IMAGE = ("nixoci::image::not_an_image", Image, "what was built is not an image",
        "The build succeeded, but what it left is something else: a package, a root file system, a text. nixoci \
         looks at the content, never at the name. An image comes from an expression such as \
         `pkgs.dockerTools.buildLayeredImage { name = \"hello\"; config.Cmd = [ \"${pkgs.hello}/bin/hello\" ]; }`; \
         name that attribute.");
    /// A sort of image that this version does not read.
    NOT_READ_YET = ("nixoci::image::not_read_yet", Image, "this kind of image is not read yet",
        "It is an image, or describes one, but in a form that this version of nixoci does not read. It reads \
         docker-archives (buildImage, buildLayeredImage, docker save), OCI archives and OCI layouts, plain or \
         compressed with gzip, zstd or xz. What `streamLayeredImage` makes is a program: within a build it is run; \
         elsewhere `./result | nixoci load -` reads what it writes.");
    /// A new name for more than one image.
    SEVERAL_IMAGES = ("nixoci::image::several", Image, "the archive holds several images",
        "manifest.json or index.json lists more than one image, as `dockerTools.mergeImages` and `docker save a b` \
         write it, and what was asked for makes sense for one only: a new name, a merge. `docker-archive:FILE:NAME` \
         or `oci:DIR:NAME` takes one of them; `-t :dev` gives all of them another tag.");
    /// An image of this name is not there.
    NO_SUCH_IMAGE = ("nixoci::image::no_such_image", Image, "the archive has no image of that name",
        "`docker-archive:FILE:NAME`, `oci:DIR:NAME` and `oci-archive:FILE:NAME` take one image of several, by its name \
         or its tag. The causes list what there is; `nixoci inspect FILE` shows all of it.");
    /// Platforms that cannot be put into one image.
    CANNOT_MERGE = ("nixoci::image::cannot_merge", Usage, "these images cannot be merged",
        "`nixoci merge` makes one image of several, one for each platform. Two of them are for the same platform, or \
         none was named.");
    /// A warning: an index lists more than images that are there.
    LEFT_OUT = ("nixoci::image::left_out", Image, "an entry of the image's index was left out",
        "The index lists something that is not an image for Linux whose content is there: a signature, a bill of \
         materials or a chart beside the image, a platform whose content was not pulled (Docker and containerd export \
         such indexes), Windows. The images were taken, and the index was made anew. To take one entry alone, name \
         it: `oci:DIR:NAME`.");
    /// A warning: two images of one name.
    SAME_NAME = ("nixoci::image::same_name", Image, "several images have one name",
        "The archive or layout lists several images under one name, as `dockerTools.mergeImages` does with images of one \
         name. The last one has the name, as `docker load` gives it; the others are written and loaded without a name. \
         Give each image a name or a tag of its own in the expression.");
    /// A warning: a configuration with the name of another one.
    CONFIG_NAME = ("nixoci::image::config_name", Image, "the configuration's name is not its digest",
        "manifest.json calls the configuration's file after a digest, and the file's content has another one. Docker \
         loads such an image, and so does nixoci: the layers are checked by the digests in the configuration. If nobody \
         changed it on purpose, the archive may be damaged.");
    /// A key of the configuration with the wrong type.
    BAD_CONFIG = ("nixoci::image::config", Image, "a key of the image's configuration has the wrong type",
        "Container runtimes give every key of the configuration a type, and refuse the whole image for one that has \
         another: `Env` is a list of texts, `Labels` a set of texts, `Volumes` and `ExposedPorts` sets whose values are \
         empty sets, `created` a date with a time and a zone. dockerTools writes whatever the expression says. Keys that \
         no runtime knows may be anything.");
    /// A warning: the layers are empty by themselves.
    NEEDS_SNAPSHOTTER = ("nixoci::image::needs_snapshotter", Image, "the image needs nix-snapshotter",
        "The image was made for nix-snapshotter: its layers hold mount points, and the store paths come from the \
         machine that runs it. Docker, Podman and containerd without that plug-in load it and find nothing to run.");
    /// Not a compression.
    BAD_COMPRESSION = ("nixoci::image::compression", Usage, "not a compression",
        "--compression takes gzip, zstd or none, and a level after a colon: `zstd:9`. gzip has the levels 1 to 9, zstd 1 \
         to 19. Every registry and runtime reads gzip; zstd is smaller and much faster, and is read by containerd, \
         Podman, and Docker since 23.0.");
    /// The source ends too early.
    TRUNCATED = ("nixoci::image::truncated", Image, "the image archive is truncated",
        "The file ends in the middle. An interrupted copy or a full disk leaves such files. If it comes from a Nix \
         store, `nix store verify PATH` says whether the store is damaged and `nix store repair PATH` mends it.");
    /// Compressed data is damaged.
    CORRUPT_GZIP = ("nixoci::image::gzip", Image, "the compressed data is damaged",
        "The file, or a layer in it, begins as gzip, zstd or xz does, but its content cannot be decompressed or fails \
         its own checksum. If it \
         comes from a Nix store, `nix store verify PATH` says whether the store is damaged.");
    /// A tar archive is damaged.
    CORRUPT_TAR = ("nixoci::image::tar", Image, "a tar archive is damaged",
        "A header of the archive, or of a layer in it, is not what the tar format allows: a wrong checksum, a \
         number that is none, an extended header that does not parse. Container runtimes would refuse it, too.");
    /// A member that would be written outside of where it belongs.
    UNSAFE_PATH = ("nixoci::image::unsafe_path", Image, "a path in the image leads out of it",
        "An entry of the archive or of a layer has `..` in its name, or is a hard link to a place outside. \
         Unpacking it could overwrite files of the host, so nixoci refuses it, as container runtimes do. No Nix \
         builder makes such entries: treat the image with suspicion.");
    /// JSON that is none, or of the wrong form.
    BAD_JSON = ("nixoci::image::json", Image, "the image's metadata cannot be understood",
        "manifest.json or the image's configuration is not JSON, or a field in it has the wrong type. The cause \
         says where. Fields that nixoci does not know are never a reason.");
    /// A file that the manifest names is absent.
    MISSING_MEMBER = ("nixoci::image::missing_member", Image, "the image archive is incomplete",
        "manifest.json names a file that is not in the archive. The archive was cut or put together by hand.");
    /// Content that contradicts its digest.
    DIGEST_MISMATCH = ("nixoci::image::digest", Image, "a layer or configuration does not match its digest",
        "The image's configuration lists the SHA-256 digest of every layer, and what is in the archive has \
         another one. The content was changed or damaged after the image was made.");
    /// As many layers as digests are needed.
    LAYER_COUNT = ("nixoci::image::layer_count", Image, "manifest and configuration list different layers",
        "manifest.json and the image's configuration (rootfs.diff_ids) must list the same number of layers. Here \
         they do not, so nobody can tell what the image is.");
    /// A limit was passed that honest images stay far below.
    TOO_LARGE = ("nixoci::image::too_large", Image, "the image passes a limit",
        "nixoci bounds what it reads from an image, so that a damaged or hostile one cannot eat memory or disk: \
         the size of JSON members, the length of names, the number of members. The message names the limit. \
         Images that people build stay far below; if yours is real, please report it.");
    /// An image that is not for Linux, or for a CPU without a name.
    BAD_PLATFORM = ("nixoci::image::platform", Image, "the image's platform is not one of Linux",
        "The image's configuration says for which platform it is (`os`, `architecture`), and that is not Linux on \
         a CPU that container tools have a name for.");
    /// The image says it is for another platform than the one asked for.
    PLATFORM_MISMATCH = ("nixoci::image::platform_mismatch", Image, "the image is for another platform",
        "The image's configuration names another platform than the one that was asked for. Usually the \
         expression takes its packages from a fixed system (`nixpkgs.legacyPackages.x86_64-linux`), whatever \
         system the attribute is for. --allow-mismatch turns this into a warning.");
    /// The programs in the image are not for the platform the image claims.
    WRONG_MACHINE = ("nixoci::image::wrong_machine", Image, "the programs in the image are for another platform",
        "The image's configuration says Linux and some CPU, but the program that the container would start is \
         for another: a macOS program (Mach-O) or one for another CPU. Every run would end with `exec format \
         error`. dockerTools writes \"linux\" into every image, also when it is given macOS packages: take the \
         image's contents from Linux packages, such as `nixpkgs.legacyPackages.aarch64-linux`, and build the \
         image's attribute for that system. --allow-mismatch turns this into a warning.");
    /// Not an image reference.
    BAD_REFERENCE = ("nixoci::image::reference", Usage, "not an image reference",
        "An image's name is written [registry/]path[:tag], in lower case: `hello`, `ghcr.io/me/app:1.2`. `:dev` \
         alone keeps the image's name and replaces its tag.");
    /// A tag for an image without a name.
    NO_NAME = ("nixoci::image::no_name", Usage, "the image has no name to put the tag on",
        "`-t :dev` keeps the image's own name and replaces the tag, but this image has no name. Give a whole one: \
         `-t app:dev`.");
    /// Not a destination.
    BAD_DESTINATION = ("nixoci::destination::unknown", Usage, "not a destination",
        "-o takes `archive:FILE` (an archive that Docker, Podman and containerd load), `docker-archive:FILE` (the \
         form of `docker save`), `oci:DIR` and `oci-archive:FILE` (an OCI image layout), or a path that ends in .tar. \
         The words of buildx are understood, too: `type=oci,dest=FILE`, `type=docker,dest=FILE`.");
    /// A destination that cannot be written.
    DESTINATION_UNUSABLE = ("nixoci::destination::unusable", Delivery, "the destination cannot be written",
        "The directory of the output does not exist or may not be written, or the output is a directory. nixoci \
         looks before it builds, so nothing was done.");
    /// An output of a configuration file outside of its directory.
    DESTINATION_OUTSIDE = ("nixoci::destination::outside", Config, "a configuration file names an output outside of its directory",
        "`output` in nixoci.toml may name files and directories below the directory of that file, links resolved: what was \
         checked out must not write elsewhere. Outputs that are typed (`-o`) may be anywhere.");
    /// An output of a configuration file where something else is.
    DESTINATION_IN_THE_WAY = ("nixoci::destination::in_the_way", Config, "an output would replace something that is no image",
        "`output` in nixoci.toml may replace images only. Move the file away, or type the output (`-o`), which replaces \
         whatever file is there.");
    /// No room.
    DISK_FULL = ("nixoci::disk_full", Delivery, "the disk is full",
        "There was no room for the image. What was written so far has been removed again. Images are kept under \
         $XDG_CACHE_HOME/nixoci (~/.cache/nixoci), which may be deleted at any time; `nix-collect-garbage` frees \
         room in the Nix store.");
    /// The system refused to write.
    WRITE_FAILED = ("nixoci::write_failed", Delivery, "the image could not be written",
        "The operating system refused to write the image. The cause names its reason. What was written so far \
         has been removed again.");
    /// Something that is no link is where the link should go.
    LINK_IN_THE_WAY = ("nixoci::result_in_the_way", Delivery, "a file is where the result link should be",
        "nixoci leaves its result as a symbolic link, ./result unless --out-link says otherwise, and replaces an \
         older link. It never replaces a file or a directory: move it away, choose another name with --out-link, \
         or do without with --no-link.");
    /// The cache directory cannot be used.
    CACHE = ("nixoci::image::cache", Delivery, "the image cache cannot be used",
        "Images are kept under $XDG_CACHE_HOME/nixoci/images (~/.cache/nixoci/images). The cause says what the \
         system refused there. The directory may be deleted at any time; XDG_CACHE_HOME moves it.");
    /// A cache that others can write to.
    CACHE_SHARED = ("nixoci::image::cache_shared", Permission, "the cache is not yours alone",
        "Images in the cache were checked when they came, and are used without being read again, so nobody but you and root \
         may be able to change them. The directory, or one above it, belongs to another user or may be written to by others. \
         With sudo on a Mac, HOME stays that of your own user: `sudo -H` uses root's.");
    /// A cached image that is not what it was.
    CACHE_DAMAGED = ("nixoci::image::cache_damaged", Image, "an image in the cache is damaged",
        "Layers are hashed again when they are copied out of the cache, and one of them had another digest than when it was \
         checked: the disk, or another program, has changed the file. It was removed from the cache, and `nixoci build` makes \
         it anew by itself. If it happens again, look at the disk.");
    /// No docker command.
    DOCKER_MISSING = ("nixoci::docker::missing", ToolMissing, "the docker command is not installed",
        "Images are loaded through Docker's own command line tool, which finds the engine (Docker Desktop, \
         OrbStack, Colima, a remote one) just as it does for you. Without Docker, `nixoci build` leaves the image \
         as ./result.");
    /// No engine behind the docker command.
    DOCKER_DOWN = ("nixoci::docker::down", Delivery, "the Docker engine does not answer",
        "The docker command is there, but the engine that it talks to is not running or not reachable. nixoci \
         asks before it builds, so nothing was done. `docker context ls` shows which engine is meant; DOCKER_HOST \
         and DOCKER_CONTEXT override it.");
    /// The engine's socket is closed to this user.
    DOCKER_PERMISSION = ("nixoci::docker::permission", Permission, "no permission to talk to the Docker engine",
        "The engine's socket belongs to root and the group `docker`. Membership of that group lets you use it, and \
         amounts to root on that machine; a rootless engine or Podman needs no such right.");
    /// The endpoint does not exist.
    DOCKER_ENDPOINT = ("nixoci::docker::endpoint", Config, "Docker's endpoint cannot be understood",
        "--docker-host, DOCKER_HOST or DOCKER_CONTEXT names an engine in a way that the docker command does not \
         understand: a context that does not exist, a URL without unix://, ssh:// or tcp://.");
    /// The docker command failed for another reason.
    DOCKER_FAILED = ("nixoci::docker::failed", Delivery, "the docker command failed",
        "Docker's own words are below. The image itself was checked and is kept: ./result, or the path that is \
         printed, can be loaded again with `docker load -i`.");
    /// The docker command is Podman.
    DOCKER_IS_PODMAN = ("nixoci::docker::podman", ToolMissing, "the docker command is Podman's",
        "Distributions install Podman under the name `docker` (podman-docker), and its answers are not Docker's. Name \
         Podman as the runtime: `--load=podman`, `nixoci load --runtime podman`. Without a name, nixoci finds Podman by \
         itself.");
    /// What Docker has is not what it was given.
    DOCKER_MISMATCH = ("nixoci::docker::mismatch", Delivery, "Docker holds another image than the one loaded",
        "After loading, nixoci asks Docker what the name stands for, and the answer was another image. Something \
         else may have loaded an image of the same name at the same moment: run the command again.");

    /// A runtime's command is not there.
    RUNTIME_MISSING = ("nixoci::runtime::missing", ToolMissing, "the runtime is not installed",
        "Images are loaded through each runtime's own command: podman, ctr (containerd), container (Apple), kind, \
         k3d, minikube. The one that was asked for, or every one of them, was not found on PATH. Without a runtime, \
         `nixoci build` leaves the image as ./result.");
    /// A runtime does not answer.
    RUNTIME_DOWN = ("nixoci::runtime::down", Delivery, "the runtime does not answer",
        "The runtime's command is there, but what it talks to (Podman's machine, containerd's socket, Apple's \
         system service, a cluster's nodes) does not run. nixoci asks before it builds, so nothing was done.");
    /// No right to use a runtime.
    RUNTIME_PERMISSION = ("nixoci::runtime::permission", Permission, "no permission to talk to the runtime",
        "The runtime's socket is closed to this user. containerd's belongs to root: a rootless containerd is \
         reached from within its namespaces, with `containerd-rootless-setuptool.sh nsenter -- nixoci ...`. An \
         image can be written to a file instead (`-o archive:image.tar`), for root to import.");
    /// A runtime's command failed for another reason.
    RUNTIME_FAILED = ("nixoci::runtime::failed", Delivery, "the runtime could not take the image",
        "The runtime's own words are below. The image itself was checked and is kept, and can be loaded again \
         with `nixoci load`.");
    /// What a runtime has is not what it was given.
    RUNTIME_MISMATCH = ("nixoci::runtime::mismatch", Delivery, "the runtime holds another image than the one loaded",
        "After loading, nixoci asks the runtime what the name stands for, and the answer was another image, or \
         none. Something else may have loaded an image of the same name at the same moment: run the command again.");
    /// No cluster, or several.
    RUNTIME_CLUSTER = ("nixoci::runtime::cluster", Config, "it is not clear which cluster is meant",
        "kind, k3d and minikube may have several clusters. One that is alone is taken; among several one has to be \
         named: KIND_CLUSTER_NAME for kind, MINIKUBE_PROFILE or `minikube profile NAME` for minikube. k3d has no \
         such variable: write the image to a file and import it with `k3d image import FILE -c NAME`.");
    /// A runtime that finds images by name only.
    RUNTIME_NAMELESS = ("nixoci::runtime::nameless", Usage, "the image has no name to find it by",
        "Docker and Podman find an image by its id, too. containerd, Apple's container and clusters find it by its \
         name only, and this one has none. Give it one: `-t app:dev`.");
    /// A runtime that does not run containers for a user.
    RUNTIME_CANNOT_RUN = ("nixoci::runtime::cannot_run", Usage, "this runtime takes images, and nixoci does not run them there",
        "`nixoci run` runs containers with Docker, Podman, Apple's container, and with containerd where nerdctl is \
         installed: `ctr run` knows neither ports nor volumes as Docker does. In a cluster, Kubernetes runs them: \
         load the image there with `nixoci build --load=kind` and start it with kubectl.");

    /// A warning: a command given as one string.
    COMMAND_IS_STRING = ("nixoci::image::command_is_string", Image, "Cmd or Entrypoint is a string",
        "The image's configuration has `Cmd` (or `Entrypoint`) as one string, where a list belongs. Docker's classic \
         image store takes it. Docker with the containerd store (Docker Desktop, new installations of the engine) \
         loads the image and cannot run it; Podman, skopeo and containerd refuse it. nixoci wrote a list of one \
         element instead, in the formats that all of them read; `docker-archive:` keeps the configuration as it \
         was. Write `Cmd = [ \"hello\" ];`.");
    /// A warning: the command is not in the image.
    COMMAND_MISSING = ("nixoci::image::command_missing", Image, "the command is not in the image",
        "What the container would start, or the interpreter of that script, is not in the image, or may not be \
         executed. A container of this image ends at once, unless the file comes from a volume. With dockerTools, \
         put the package into `contents` or `copyToRoot`, or name the program with its whole path \
         (`${pkgs.hello}/bin/hello`); `#!/usr/bin/env` needs `dockerTools.usrBinEnv`.");
    /// A warning: the user is not in the image.
    USER_MISSING = ("nixoci::image::user_missing", Image, "the image's user is not in the image",
        "`User` names a user or a group, and the image's /etc/passwd or /etc/group does not have it: Docker and Podman \
         refuse to start such a container. A number needs no entry: `User = \"1000:1000\";`. \
         `pkgs.dockerTools.fakeNss` has the users root and nobody; others are written with `pkgs.writeTextDir \
         \"etc/passwd\" ...`.");
    /// A warning: the working directory is something else.
    WORKING_DIR = ("nixoci::image::working_dir", Image, "the working directory is not a directory",
        "`WorkingDir` leads to a file. Runtimes make a working directory that is not there, and refuse to start where \
         something else is in its place.");
    /// A warning: more layers than runtimes stack.
    MANY_LAYERS = ("nixoci::image::many_layers", Image, "the image has more layers than runtimes stack",
        "Docker's and containerd's overlay file systems stack at most 127 layers. Lower `maxLayers`.");
    /// A warning: some programs are for other platforms.
    FOREIGN_PROGRAMS = ("nixoci::image::foreign_programs", Image, "some programs are for another platform",
        "What the container starts is right, but other programs in it are for another operating system or CPU. \
         That can be meant (an emulator, a cross compiler); else some package came from the wrong system.");
    /// A warning: symbolic links above the root.
    CLIMBING_LINKS = ("nixoci::image::climbing_links", Image, "symbolic links lead above the root",
        "A relative symbolic link in the image has more `..` than it is deep. In a container it stops at the root, \
         but Docker refuses to unpack such a layer. Shorten the link.");
    /// A warning: the contents were not checked.
    UNCHECKED = ("nixoci::image::unchecked", Image, "not all programs were checked",
        "The image has so many entries that nixoci did not remember them all. Digests and paths were checked, but \
         not for which machine the programs are.");
    /// A warning: a name in the archive that is none.
    BAD_NAME = ("nixoci::image::bad_name", Image, "a name in the archive is not an image reference",
        "The archive names its image in a way that container runtimes do not accept. The name was left out; give \
         one with -t.");
    /// A warning: the architecture has another name.
    ARCHITECTURE_ALIAS = ("nixoci::image::architecture_alias", Image, "the architecture has another name in OCI",
        "The image's configuration uses a name such as x86_64 or aarch64, where the OCI specification says amd64 \
         or arm64. Some tools will not recognise it. With dockerTools: `architecture = \"amd64\";`.");
}
