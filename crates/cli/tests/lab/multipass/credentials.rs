//! Secrets reach the guest, and none stays there.

use super::*;

/// An agent, a key that it does not know yet, a repository in the guest that the key opens, and `t`, which builds something that has to be
/// fetched from there, and says how that ended.
const AGENT: &str = r#"export HOME=$(mktemp -d) XDG_CONFIG_HOME=$(mktemp -d); mkdir -m 700 $HOME/.ssh; mkdir $XDG_CONFIG_HOME/nixoci
ssh-keygen -q -t ed25519 -N '' -f key; eval "$(ssh-agent)" >/dev/null; trap "kill $SSH_AGENT_PID; multipass delete -p $vm >/dev/null; rm -f $events/$vm*" EXIT
cat >t.nix <<'END'
{ system, n, cmd ? "cat < $file > $out" }: derivation {
  name = "t-${n}"; inherit system cmd; builder = "/bin/sh"; args = [ "-c" "read a < $file; echo $a > $out; eval $then" ];
  file = builtins.fetchGit { url = "ssh://ubuntu@localhost/home/ubuntu/repo"; ref = "master"; } + "/file"; "then" = cmd;
}
END
provision >/dev/null 2>&1
guest "printf '\n%s\n' '$(cat key.pub)' >>.ssh/authorized_keys; git init -q -b master repo; cd repo; echo hush >file; git add .
    git -c user.name=a -c user.email=a@b commit -qm x"
t() { tiny --argstr cmd : "$@"; }
host_is_known() { guest 'cat /etc/ssh/ssh_host_ed25519_key.pub' | sed 's/^/localhost /' >$HOME/.ssh/known_hosts; }
"#;

each!(without_an_agent_nothing_is_fetched_by_ssh: release(RELEASE), next(NEXT));
fn without_an_agent_nothing_is_fetched_by_ssh(options: &'static [&'static str]) {
    let run = NIX_2_34.with(options).sh(&alone("", &format!("{AGENT} t")));
    run.fails(41, "nixoci::nix::fetch_denied").says("multipass_agent_not_asked");
}

each!(a_host_that_nobody_has_confirmed_is_not_asked: release(RELEASE), next(NEXT));
fn a_host_that_nobody_has_confirmed_is_not_asked(options: &'static [&'static str]) {
    let run = NIX_2_34.with(options).sh(&alone("", &format!("{AGENT} t --ssh default")));
    run.fails(41, "nixoci::nix::fetch_denied").says("multipass_unconfirmed_host");
}

each!(an_agent_without_the_key_does_not_help: release(RELEASE), next(NEXT));
fn an_agent_without_the_key_does_not_help(options: &'static [&'static str]) {
    let run = NIX_2_34.with(options).sh(&alone("", &format!("{AGENT} host_is_known; t --ssh default")));
    run.fails(41, "nixoci::nix::fetch_denied").says("multipass_agent_without_key");
}

each!(an_agent_is_asked_where_that_is_wanted_and_nothing_of_it_stays: release(RELEASE), next(NEXT));
fn an_agent_is_asked_where_that_is_wanted_and_nothing_of_it_stays(options: &'static [&'static str]) {
    let script = format!(
        r#"{AGENT} host_is_known; ssh-add -q key; t --ssh default 2>/dev/null; echo code $?; guest 'ls -A /dev/shm'
        guest 'cd repo; echo more >file; git -c user.name=a -c user.email=a@b commit -qam y'
        printf '[credentials]\nforward = ["ssh-agent"]\n' >$XDG_CONFIG_HOME/nixoci/config.toml; t --refresh 2>/dev/null; echo code $?
        SSH_AUTH_SOCK=/nowhere t 2>&1 | grep -o 'nixoci explain .*'
        gate $vm; nixoci build --backend multipass -y --no-link -f t.nix --argstr n 0 --argstr cmd "$(held $vm)" >$log 2>&1 & pid=$!; begun $vm $pid || cat $log
        guest 'ls /dev/shm' | wc -l; kill -9 $pid; there() {{ guest 'ls -A /dev/shm'; left; }}; gone there"#
    );
    let run = NIX_2_34.with(options).sh(&alone("", &script)).code(0);
    run.out("code 42\ncode 42\nnixoci explain nixoci::guest::credentials\n1\nleft:\nend\n");
}

/// Secrets in the user's settings. An expression reads what Nix is told, and prints it: once in other letters, which nixoci does
/// not recognize, and once as it is.
const SECRETS: &str = r#"export XDG_CONFIG_HOME=$(mktemp -d) GITHUB_TOKEN=hush-token; mkdir $XDG_CONFIG_HOME/nixoci; echo 'machine example.org login me password hush-word' > $log.netrc
printf '[credentials]\ngithub = "env:GITHUB_TOKEN"\nnetrc = "%s"\n' $log.netrc > $XDG_CONFIG_HOME/nixoci/config.toml
printf '%s' '{ system, n }: let f = builtins.readFile; s = "/run/nixoci/secrets"; in derivation { name = "t-${n}"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ];
    a = builtins.trace (builtins.replaceStrings ["hush" "access"] ["HUSH" "ACCESS"] (f "${s}/nix.conf" + f "${s}/netrc" + builtins.getEnv "NIX_USER_CONF_FILES" + builtins.getEnv "https_proxy"))
      (builtins.trace (f "${s}/nix.conf" + f "${s}/netrc") ""); }' > s.nix
secret() { nixoci -vv build --backend multipass -y --impure --no-link -f s.nix --argstr n $RANDOM$RANDOM; }
"#;

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn secrets_and_the_way_out_reach_the_guest_and_no_secret_stays() {
    let script = format!(
        r#"{SECRETS} export https_proxy=http://proxy.corp:3128 NIX_SSL_CERT_FILE=$log.pem; echo certificate > $log.pem
        secret 2>$log.err; grep -E 'HUSH|[*][*][*]|/run/nixoci/secrets|proxy.corp' $log.err | sort -u; grep -c hush $log.err
        guest 'cat /etc/nixoci/certificates.pem /etc/nixoci/environment; echo searched; sudo grep -rls -e hush-token -e hush-word / --exclude-dir=proc --exclude-dir=sys --exclude-dir=lab --exclude-dir=store 2>/dev/null'; echo clean
        unset https_proxy NIX_SSL_CERT_FILE; tiny 2>/dev/null; guest 'cat /etc/nixoci/environment; ls /etc/nixoci'"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0);
    let run = run
        .out("extra-ACCESS-tokens = github.com=HUSH-token")
        .out("password HUSH-word")
        .out("extra-access-tokens = github.com=***")
        .out("password ***")
        .out("http://proxy.corp:3128");
    let run = run.out("\n0\ncertificate\n").out("NIX_SSL_CERT_FILE=/etc/nixoci/certificates.pem");
    let run = run.out("GIT_SSL_CAINFO=/etc/nixoci/certificates.pem");
    run.out("searched\nclean\n").out("environment\nvm.json\n");
}

/// The build and Nix's daemon have the password, also after a machine that was restarted; no list of processes and no file that others read has
/// it, and it is gone with nixoci.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_proxy_s_password_is_in_the_guest_for_as_long_as_nixoci_is() {
    let script = r#"provision >/dev/null 2>&1; multipass stop $vm >/dev/null; export https_proxy=http://me:hush-proxy@proxy.corp:3128 http_proxy=http://proxy.corp:3128; gate $vm
        there() { guest 'sudo grep -rls hush-proxy / --exclude-dir=proc --exclude-dir=sys --exclude-dir=lab 2>/dev/null'; }
        daemon() { guest 'sudo cat /proc/$(pgrep -o nix-daemon)/environ' | grep -zc hush-proxy; }
        anywhere() { there; [ "$(daemon)" = 0 ] || echo daemon; }
        for signal in none KILL INT; do
            nixoci build --backend multipass -y --no-link -f t.nix --argstr n $RANDOM --argstr cmd "$(held $vm)" >$log 2>&1 & pid=$!; begun $vm $pid || cat $log
            echo during; there; guest 'stat -c "%U %a" /run/nixoci/environment; ps -eo args' | grep -e hush -e '^root 600'; daemon
            if [ $signal = none ]; then go_on $vm; else kill -$signal $pid; fi; wait $pid 2>/dev/null
            echo after; gone anywhere; guest 'cat /etc/nixoci/environment'
        done"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script)).code(0);
    let during = "during\n/run/nixoci/environment\nroot 600\n1\n";
    let after = "after\nleft:\nend\nhttp_proxy=http://proxy.corp:3128\n";
    assert_eq!(run.out, format!("{during}{after}").repeat(3), "{run:#?}");
}

/// `config untrust` takes back what was agreed to; `plan` evaluates nothing with what was not.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_project_gets_credentials_when_that_was_agreed_to_once() {
    let script = format!(
        r#"{SECRETS} provision >/dev/null 2>&1; unset NIXOCI_TRUST_PROJECT; nixoci config trust >/dev/null; code() {{ secret >$log 2>&1; echo code $?; }}
        secret; echo code $?; nixoci plan --backend multipass --impure -f s.nix --argstr n 1 2>$log.plan >/dev/null; grep -o 'is not evaluated' $log.plan; grep -c HUSH $log.plan
        mkfifo keys; script -qec 'nixoci build --backend multipass -y --impure --no-link -f s.nix --argstr n 2; echo ended $?' /dev/null <keys >$log.tty & pid=$!
        exec 5>keys; line $log.tty 'the passwords in' $pid && echo y >&5; wait $pid; grep -o 'ended [0-9]*' $log.tty; grep -c HUSH-token $log.tty
        code; grep -c 'HUSH-token' $log; nixoci config untrust | grep -o 'no longer gets your credentials'; code"#
    );
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &script)).code(0);
    let run = run.out(
        "code 11\nis not evaluated\n0\nended 42\n1\ncode 42\n1\nno longer gets your credentials\ncode 11\n",
    );
    run.says("multipass_credentials_not_agreed");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_secret_that_is_not_there_has_its_own_code() {
    let run = NIX_2_34.with(RELEASE).sh(&alone("", &format!("{SECRETS} unset GITHUB_TOKEN; secret")));
    run.fails(22, "nixoci::guest::credentials").says("multipass_no_secret");
}

#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_project_may_not_name_secrets() {
    let script = r#"printf '[credentials]\ngithub = "gh"\n' >> nixoci.toml; tiny"#;
    let run = NIX_2_34.with(RELEASE).sh(&alone("", script));
    run.fails(11, "nixoci::config::credentials").says("multipass_credentials_of_a_project");
}

/// A binary cache on port 8099 that wants a password. It says that it listens through a pipe.
const PRIVATE_CACHE: &str = r#"
import base64, http.server, os, sys
os.chdir("/tmp/cache")
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        wanted = "Basic " + base64.b64encode(b"me:hush-word").decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401); self.end_headers(); return
        super().do_GET()
    do_HEAD = do_GET
server = http.server.HTTPServer(("127.0.0.1", 8099), Handler)
open(sys.argv[1], "w").write("listening\n")
server.serve_forever()
"#;

each!(a_binary_cache_that_wants_a_password_gets_it_from_the_daemon_and_nobody_keeps_it: release(RELEASE), next(NEXT));
fn a_binary_cache_that_wants_a_password_gets_it_from_the_daemon_and_nobody_keeps_it(
    options: &'static [&'static str],
) {
    // The result exists in the cache only, and no further builds are allowed.
    let script = format!(
        r#"export XDG_CONFIG_HOME=$(mktemp -d); mkdir $XDG_CONFIG_HOME/nixoci; printf 'machine 127.0.0.1\nlogin me\npassword hush-word\n' > $log.netrc
        build --no-link -f t.nix --argstr n cached >/dev/null 2>&1; guest 'p=$(ls -d /nix/store/*-t-cached); nix key generate-secret --key-name k >/tmp/k; nix copy --to "file:///tmp/cache?secret-key=/tmp/k" $p && sudo nix-store --delete --ignore-liveness $p' >/dev/null 2>&1
        gate $vm; echo '{PRIVATE_CACHE}' | multipass exec -n $vm -- sh -c 'cat >/tmp/cache.py'; guest "nohup python3 /tmp/cache.py /lab/events/$vm.begun >/tmp/cache.log 2>&1 &"; read -r _ <$events/$vm.begun
        key=$(guest 'nix key convert-secret-to-public </tmp/k')
        cached() {{ build --no-link -f t.nix --argstr n cached --max-jobs 0 --option substituters http://127.0.0.1:8099 --option trusted-public-keys "$key" 2>&1 | grep -oE 'nixoci::.*|does not reach'; }}
        echo without; cached; printf '[credentials]\nnetrc = "%s"\n' $log.netrc > $XDG_CONFIG_HOME/nixoci/config.toml; echo with; cached
        printf '%s' '{{ system }}: derivation {{ name = "x"; inherit system; builder = "/bin/sh"; args = [ "-c" "echo hi > $out" ]; a = builtins.readFile (builtins.fetchurl "http://127.0.0.1:8099/nix-cache-info"); }}' > f.nix
        build --no-link -f f.nix 2>&1 | grep -o 'nixoci::.*'
        guest 'ls /run/nixoci; sudo grep -rls hush-word /run /etc /var /home /tmp --exclude=cache.py'; echo end"#
    );
    let run = NIX_2_34.with(options).sh(&alone("", &script)).code(0);
    let run = run.out("with\nnixoci::image::not_an_image\nnixoci::image::not_an_image\n");
    assert!(!run.out.contains("without\nnixoci::image::"), "{run:#?}");
    assert!(run.out.ends_with("\nin-use\nsecrets\nused\nend\n"), "{run:#?}");
    assert!(!run.out.contains("does not reach"), "{run:#?}");
}

/// The way out is told before Nix is installed: there is no daemon then that could be started again.
#[test]
#[ignore = "needs the lab: cargo xtask test"]
fn a_proxy_with_a_password_is_no_obstacle_to_installing_nix() {
    let script = r#"export https_proxy=http://me:hush-proxy@proxy.corp:3128 no_proxy=localhost; provision >$log 2>&1 || cat $log; echo code $?
        there() { guest 'sudo ls /run/nixoci/environment 2>/dev/null; cat /etc/nixoci/environment'; }; there"#;
    let run = NIX_2_34.with(RELEASE).sh(&on_plain_image("", script)).code(0);
    assert_eq!(run.out, "code 0\nno_proxy=localhost\n", "{run:#?}");
}
