#!/bin/sh
# A `nix` for tests: answers in the shapes of the version it is told to be, and refuses what that version
# does not know. It is told by environment variables:
#   SHIM_VERSION  the line of `nix --version`      SHIM_BASE     its number as one figure: 226, 234, 218 for Lix
#   SHIM_CALLS    a file that gets a line a call   SHIM_ATTRS    the attributes that exist
#   SHIM_OUTPUTS  JSON of the packages by system   SHIM_NAR SHIM_HASH SHIM_SIZE  what the store holds
#   SHIM_FAULT    what goes wrong
P=/nix/store/0mixbwv945yr64jsc6jla0384mdn9l4z-image.tar.gz
D=/nix/store/1mixbwv945yr64jsc6jla0384mdn9l4z-image.tar.gz.drv

fail() { printf '%s\n' "error: $1" >&2; exit 1; }
event() { printf '@nix %s\n' "$1" >&2; }
error() { event '{"action":"msg","level":0,"msg":"\u001b[31;1merror:\u001b[0m '"$1"'"}'; exit 1; }

echo "$*" >> "$SHIM_CALLS"
[ "$1" = --version ] && { echo "$SHIM_VERSION"; exit 0; }
command=$1; shift
case $command in store|config) command="$command $1"; shift;; esac

features= format= recursive= dry= link= apply= words=
while [ $# -gt 0 ]; do
  case $1 in
    --extra-experimental-features) features=$2; shift;;
    --json|--no-write-lock-file|--no-link) ;;
    --json-format)
      [ "$SHIM_BASE" -ge 233 ] || fail "unrecognised flag '--json-format'"
      format=$2; shift;;
    --recursive) recursive=1;;
    --dry-run) dry=1;;
    --out-link) link=$2; shift;;
    --apply) apply=$2; shift;;
    --log-format) [ "$2" = internal-json ] || fail "unknown log format"; shift;;
    --argstr|--arg) words="$words $2=$3"; shift 2;;
    --file) words="$words file=$2"; shift;;
    --*) fail "unrecognised flag '$1'";;
    *) words="$words $1";;
  esac
  shift
done
[ "$features" = "nix-command flakes" ] ||
  fail "experimental Nix feature 'nix-command' is disabled; add '--extra-experimental-features nix-command' to enable it"
words=${words# }

info() { echo "\"narHash\":\"$SHIM_HASH\",\"narSize\":$SHIM_SIZE,\"deriver\":\"$2\",\"references\":[$1]"; }

case $command in
  "config show") echo '{"system":{"value":"x86_64-linux"},"extra-platforms":{"value":["i686-linux"]},"sandbox":{"value":true},"max-jobs":{"value":4}}';;
  "store info")
    [ "$SHIM_BASE" -ge 219 ] || fail "'info' is not a recognised command"
    if [ "$SHIM_BASE" -ge 230 ]; then t=true; else t=1; fi
    echo "{\"trusted\":$t,\"url\":\"daemon\",\"version\":\"2.26.3\"}";;
  "store ping")
    [ "$SHIM_BASE" -lt 219 ] || echo "warning: 'store ping' is a deprecated alias for 'store info'" >&2
    echo '{"url":"daemon","version":"2.18.0","trusted":true}';;
  path-info)
    if [ "$words" != $P ]; then
      if [ "$SHIM_BASE" -lt 219 ]; then echo "[{\"path\":\"$words\",\"valid\":false}]"
      elif [ "$format" = 2 ]; then echo "{\"info\":{\"${words##*/}\":null},\"storeDir\":\"/nix/store\",\"version\":2}"
      else echo "{\"$words\":null}"; fi
    elif [ "$SHIM_BASE" -lt 219 ]; then echo "[{\"path\":\"$P\",$(info "\"$P\"" $D)}]"
    elif [ "$format" = 2 ]; then echo "{\"info\":{\"${P##*/}\":{$(info "\"${P##*/}\"" ${D##*/})}},\"storeDir\":\"/nix/store\",\"version\":2}"
    else
      [ "$SHIM_BASE" -lt 233 ] || echo "warning: '--json' without '--json-format' is deprecated" >&2
      echo "{\"$P\":{\"ca\":null,$(info "\"$P\"" $D)}}"
    fi;;
  "store dump-path")
    case $SHIM_FAULT in
      gone) printf 'garbage'; fail "path '$words' is not a valid store path";;
      short) head -c 40 "$SHIM_NAR";;
      long) cat "$SHIM_NAR" "$SHIM_NAR";;
      damaged) tr h H < "$SHIM_NAR";;
      *) cat "$SHIM_NAR";;
    esac;;
  eval) [ -n "$apply" ] || fail "no function"; [ -n "$SHIM_OUTPUTS" ] || fail "no outputs"; echo "$SHIM_OUTPUTS";;
  build)
    [ "$SHIM_FAULT" = hang ] && { event '{"action":"start","id":1,"level":4,"type":0,"text":"evaluating"}'; sleep 1000; }
    attribute=${words##*#.}
    case $words in
      file=*) ;;
      *) case " $SHIM_ATTRS " in *" $attribute "*) ;; *) error "flake '${words%%#*}' does not provide attribute '$attribute'";; esac;;
    esac
    level=3; [ -z "$dry" ] || level=0
    event '{"action":"msg","level":'$level',"msg":"this derivation will be built:"}'
    event '{"action":"msg","level":'$level',"msg":"  '$D'"}'
    if [ -z "$dry" ]; then
      event '{"action":"start","id":7,"level":3,"type":105,"text":"","fields":["'$D'","",1,1]}'
      event '{"action":"result","id":7,"type":101,"fields":["a line"]}'
      event '{"action":"stop","id":7}'
      [ "$SHIM_FAULT" != fail ] || error "builder for '$D' failed with exit code 2"
      ln -sfn $P "$link"
    fi
    echo "[{\"drvPath\":\"$D\",\"outputs\":{\"out\":\"$P\"}}]";;
  *) fail "'$command' is not a recognised command";;
esac
