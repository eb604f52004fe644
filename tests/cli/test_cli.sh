#!/bin/bash
# The real program, from outside: words, exit codes, refusal texts, variables,
# passwords, signals, run folders.  Usage: test_cli.sh HOLDFAST
# Run ids and the temporary directory are normalised before texts are compared.
set -u
holdfast=$(realpath -- "$1") || exit 1
top=$(mktemp -d "${TMPDIR:-/tmp}/holdfast-cli.XXXXXX") || exit 1
trap 'chmod -R u+rwx "$top"; rm -rf "$top"' EXIT
cd "$top" || exit 1
for name in $(env | sed -n 's/^\(\(HOLDFAST\|RESTIC\)_[A-Z_]*\)=.*/\1/p'); do
	unset "$name"
done
export XDG_STATE_HOME=$top/state TZ=UTC LC_ALL=C TERM=dumb
n=0

result() { # 0 or 1, what
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
	else
		echo "not ok $n - $2"
		echo "# exit $rc"
		sed 's/^/# out: /' out
		sed 's/^/# err: /' err
	fi
}
run() { # everything after it; leaves rc, out, err
	"$@" >out.raw 2>err.raw </dev/null
	rc=$?
	normal <out.raw >out
	normal <err.raw >err
}
normal() {
	sed -e "s|$top|TOP|g" -e 's/20[0-9]\{6\}T[0-9]\{6\}Z-[0-9a-f]\{8\}/RUN/g'
}
exits() { # code, what
	result $((rc != $1)) "$2"
}
says() { # file, fixed text, what
	grep -qF -- "$2" "$1"
	result $? "$3"
}
is_text() { # file, what; the text on standard input
	cat >want
	diff want "$1" >diff.txt
	local same=$?
	result $same "$2"
	[ $same = 0 ] || sed 's/^/# /' diff.txt
}
last_line() { # file, extended pattern, what
	tail -n 1 "$1" | grep -qE -- "$2"
	result $? "$3"
}
wait_for() { # file, text: at most ten seconds
	for _ in $(seq 200); do
		grep -qF -- "$2" "$1" && return 0
		sleep 0.05
	done
	return 1
}
hf() {
	run "$holdfast" "$@"
}

# ---- words ----
hf version
exits 0 "version ends well"
says out "holdfast " "version names the program"
hf version --json
says out '{"message_type":"version","version":"' "version --json"
hf help
exits 0 "help ends well"
[ "$(sed -n 3p out)" = Examples ]
result $? "help leads with examples"
hf help restore
cp out by_help
hf restore --help
cmp -s by_help out
result $? "help CMD and CMD --help are the same"
hf help nonsense
exits 2 "help for an unknown command"
hf
exits 2 "no command"
hf bakcup
exits 2 "unknown command"
is_text err "unknown command, to the letter" <<'END'
refused: the command line was not understood (usage-error, SEV-3, code 7000)
  why      there is no command "bakcup"; the nearest one is "backup"
  next     1. Examples and flags:  holdfast help
END
hf backup --exclud x /
exits 2 "unknown flag"
says err "there is no flag --exclud; the nearest one is --exclude" "the nearest flag is named"
hf ls
is_text err "a missing argument, to the letter" <<'END'
refused: the command line was not understood (usage-error, SEV-3, code 7000)
  why      ls needs: SNAPSHOT [DIR…]
  next     1. Examples and flags:  holdfast help ls
END
hf --json bakcup
last_line err '^\{"message_type":"exit_error","code":2,"message":"the command line' "a refusal with --json is a line"

# ---- where the vault and the password come from ----
hf snapshots
exits 2 "no vault named"
is_text err "no vault named, to the letter" <<'END'
refused: no vault was named (usage-error, SEV-3, code 7003)
  why      looked at --repo, --repository-file, and the variables HOLDFAST_ and RESTIC_ REPOSITORY, REPOSITORY_FILE
  next     1. Name it with -r DIR, --repository-file or HOLDFAST_REPOSITORY.
END
run setsid "$holdfast" -r vault snapshots
exits 36 "no password and no terminal"
says err "looked at --password-file, --password-command" "every place looked at is named"
run env HOLDFAST_PASSWORD=a "$holdfast" -r absent snapshots
exits 10 "no vault there"
is_text err "no vault there, to the letter" <<'END'
refused: there is no vault at this place (vault-missing, SEV-3, code 4500)
  what     listing the snapshots of absent
  why      no config at absent
  next     1. Check the path; is the disk mounted?
           2. To make a new vault: holdfast init
END

printf 'correct horse\n' >pw
hf -r vault -p pw init
exits 0 "init"
last_line out '^vault [0-9a-f]{8} made at vault$' "init ends with the key fact"
says err "making a vault at vault, run RUN" "init tells its run at once"
hf -r vault -p pw init
exits 2 "init does not take over a vault"
export HOLDFAST_REPOSITORY=$top/vault
run env HOLDFAST_PASSWORD_FILE=pw "$holdfast" -q snapshots
exits 0 "HOLDFAST_PASSWORD_FILE"
run env RESTIC_PASSWORD_FILE=pw "$holdfast" snapshots
exits 0 "RESTIC_PASSWORD_FILE"
run env RESTIC_PASSWORD=wrong HOLDFAST_PASSWORD="correct horse" "$holdfast" snapshots
exits 0 "HOLDFAST_ wins over RESTIC_"
run env HOLDFAST_PASSWORD=wrong "$holdfast" snapshots
exits 12 "a wrong password is no damage"
run env HOLDFAST_PASSWORD=wrong "$holdfast" --password-command "printf '%s' 'correct horse'" snapshots
exits 0 "the flag wins over the variable"
run env HOLDFAST_PASSWORD_FILE=pw HOLDFAST_PASSWORD_COMMAND=x "$holdfast" snapshots
exits 2 "two sources contradict"
"$holdfast" --password-fd 7 snapshots 7<pw >out 2>err
rc=$?
exits 0 "--password-fd"
printf '%s\n' "$top/vault" >where
run env -u HOLDFAST_REPOSITORY "$holdfast" --repository-file where -p pw snapshots
exits 0 "--repository-file"
if command -v script >/dev/null; then
	# typed only once it is asked for: what was typed before the echo went off is thrown away
	: >typed
	{
		wait_for typed "password of the vault"
		printf 'correct horse\n'
	} | script -qefc "$holdfast -r $top/vault snapshots" typed >out.raw 2>err.raw
	rc=$?
	normal <typed >out
	: >err
	exits 0 "the password is asked for on the terminal"
	! grep -q "correct horse" typed
	result $? "and is not echoed"
	: >typed
	{
		wait_for typed "password for the new vault"
		printf 'one\n'
		wait_for typed "once more"
		printf 'other\n'
	} | script -qefc "$holdfast -r $top/unmade init" typed >out.raw 2>err.raw
	rc=$?
	normal <typed >out
	exits 2 "two passwords that differ"
	says out "the two passwords typed are not equal (usage-error, SEV-3, code 7004)" "are told"
	[ ! -e unmade/config ]
	result $? "and make no vault"
else
	for what in "a password asked for" "not echoed" "differing ones refused" "told" "no vault"; do
		n=$((n + 1))
		echo "ok $n - $what # SKIP script(1) is absent"
	done
fi
export HOLDFAST_PASSWORD_FILE=$top/pw

# ---- backup ----
mkdir -p src/sub
echo hello >src/a
echo skipped >src/b.tmp
printf 'line\n' >"src/sub/new
line"
ln -s a src/link
hf backup src -e '*.tmp' --tag 'one, two' --host here --time '2026-01-02 03:04:05'
exits 0 "backup"
last_line out '^snapshot [0-9a-f]{8} saved$' "backup ends with the key fact"
hf backup src -e '*.tmp' --json
exits 0 "backup --json"
head -n 1 out | grep -q '^{"message_type":"status","percent_done":'
result $? "status lines"
last_line out '^\{"message_type":"summary","files_new":2,.*"snapshot_id":"[0-9a-f]{64}"' "summary line"
hf backup -n src
exits 0 "dry run"
last_line out '^dry run: nothing was stored$' "a dry run says so"
hf backup --skip-if-unchanged -e '*.tmp' src
last_line out '^nothing changed: no snapshot was made$' "--skip-if-unchanged"
hf backup src absent
exits 20 "a missing source refuses"
says err "problem: absent: " "and is named"
hf backup absent
exits 20 "no source that is there"
hf backup
exits 2 "nothing to back up"
hf backup --on-unreadable ignore src
exits 2 "a wrong word for --on-unreadable"
hf backup --pack-size 3 src
exits 2 "a pack size below the limit"
hf backup --compression best src
exits 2 "an unknown compression"
hf backup --no-lock src
exits 2 "--no-lock does not go with writing"
hf backup --stdin-filename data.txt --stdin-from-command -- echo piped
exits 0 "the output of a command"
hf backup --stdin-from-command -- false
exits 20 "a failing command leaves no snapshot"
hf snapshots --json
[ "$(grep -o '"short_id"' out | wc -l)" = 3 ]
result $? "three snapshots so far"
says out '"time":"2026-01-02T03:04:05Z"' "--time is local time"
hf snapshots --tag one,two --host here
last_line out '^1 snapshot$' "filters"
hf snapshots --latest 1 --path src
last_line out '^2 snapshots$' "--latest counts a host and its paths"
hf snapshots --latest none
exits 2 "--latest wants a number"

# ---- looking ----
first=$("$holdfast" snapshots --host here --json | sed 's/.*"short_id":"\([0-9a-f]*\)".*/\1/')
hf ls "$first"
is_text out "ls, to the letter" <<END
snapshot $first of here at 2026-01-02 03:04:05:
/src
/src/a
/src/link
/src/sub
/src/sub/new\\x0aline
END
hf ls -q "$first" /src
is_text out "ls of a directory does not go deeper" <<'END'
/src
/src/a
/src/link
/src/sub
END
hf ls -q "$first" /src/sub --recursive
is_text out "ls --recursive" <<'END'
/src/sub
/src/sub/new\x0aline
END
hf ls -q -l "$first" /src
says out "/src/link -> a" "ls -l shows where links lead"
hf ls "$first" src
exits 2 "a relative directory in a snapshot"
hf ls --json "$first"
head -n 1 out | grep -q '"message_type":"snapshot","struct_type":"snapshot"}$'
result $? "ls --json begins with the snapshot"
last_line out '"message_type":"node","struct_type":"node"\}$' "and then lists nodes"
hf cat config
says out '"chunker_polynomial"' "cat config"
hf cat snapsot x
says err 'cat knows no "snapsot"; the nearest kind is "snapshot"' "cat names the nearest kind"
hf cat snapshot "$first"
exits 0 "cat snapshot"
hf ls ffffffffffffffff
exits 49 "no such snapshot"

# ---- restore ----
hf restore "$first" --target back
exits 0 "restore"
last_line out "^restored $first into .*/back: 2 files, 2 directories" "restore ends with the key fact"
[ "$(cat back/src/a)" = hello ] && [ "$(readlink back/src/link)" = a ]
result $? "what came back is what was saved"
hf restore "$first" --target back
exits 30 "a destination with content refuses"
[ "$(cat back/src/a)" = hello ]
result $? "and is untouched"
hf restore "$first:/src/sub" --target part --json
last_line out '^\{"message_type":"summary",.*"total_files":1,"files_restored":1' "restore --json"
hf restore-swap "$first:/src" --target back
exits 0 "restore-swap"
last_line out "^the previous tree is kept: TOP/\.holdfast_restore_previous_back_" "it tells where the previous tree is"
previous=$(find . -maxdepth 1 -name '.holdfast_restore_previous_back_*')
[ "$(cat back/a)" = hello ] && [ "$(cat "$previous/src/a")" = hello ]
result $? "both trees are whole"
hf restore-swap "$first" --target back --json
last_line out '^\{"message_type":"summary",.*"previous_tree":"[^"]*holdfast_restore_previous_back_' "restore-swap --json"
[ "$(cat back/src/a)" = hello ] && [ ! -e back.holdfast_stage ]
result $? "and leaves no stage"
hf restore-swap "$first" --target back --plan swap.json
exits 0 "a plan of an exchange"
hf restore apply swap.json
exits 0 "is carried out"
hf restore "$first" --target half --include '*.none'
exits 49 "nothing matches"
hf restore "$first" --target dry --dry-run
exits 0 "a dry restore"
[ "$(find dry -mindepth 1 -maxdepth 1)" = dry/.holdfast_restore ]
result $? "writes its records and nothing else"
hf restore "$first" --target planned --plan plan.json
exits 0 "a plan"
[ ! -e planned ]
result $? "touches nothing"
hf restore apply plan.json --verify none
exits 2 "a plan is applied as it is"
hf restore apply plan.json
exits 0 "carries it out"
[ -e planned/.holdfast_restore ]
result $? "with its records"
hf restore apply plan.json
exits 30 "but not over what is there"
hf restore "$first"
exits 2 "restore needs a target"
hf restore "$first" --target x --verify much
exits 2 "a wrong word for --verify"
run env HOLDFAST_HOST=nobody "$holdfast" restore latest --target none
exits 49 "latest without snapshots"
run env HOLDFAST_HOST=nobody "$holdfast" restore latest --host '' --target any
exits 0 "--host '' cancels the variable"

# ---- keys ----
printf 'second\n' >pw2
hf key add --new-password-file pw2 --user ada --host tower
exits 0 "key add"
hf -p pw2 key list --json
says out '"current":true' "key list marks the one in use"
says out '"userName":"ada","hostName":"tower"' "and shows its labels"
id=$("$holdfast" -p pw2 key list --json | sed 's/.*"current":false,"id":"\([0-9a-f]*\)".*/\1/')
hf key remove "$id"
exits 2 "the key in use cannot be removed"
says err "code 4513" "and says why"
printf 'third\n' >pw3
hf -p pw2 key passwd --new-password-file pw3
exits 0 "key passwd"
hf -p pw2 snapshots
exits 12 "the old password is out"
hf -p pw3 key remove "$id"
exits 0 "key remove"
hf snapshots
exits 12 "and opens no more"
export HOLDFAST_PASSWORD_FILE=$top/pw3

# ---- check, unlock ----
hf check --read-data
exits 0 "check"
last_line out '^no errors were found$' "check ends with the key fact"
hf check --read-data-subset 1/2 --json
last_line out '^\{"message_type":"summary","num_errors":0,"broken_packs":null' "check --json"
hf check --read-data --read-data-subset 1/2
exits 2 "two answers to how much is read"
cp -r vault broken
pack=$(find broken/data -type f | head -n 1)
chmod u+w "$pack"
printf 'X' | dd of="$pack" bs=1 seek=20 conv=notrunc 2>/dev/null
hf -r broken check --read-data
exits 23 "check finds damage"
says err "the vault has damage (verify-failed, SEV-1, code 5200)" "and says so"
last_line out 'errors? were found$' "in numbers too"
hf unlock
last_line out '^0 locks removed, 0 left$' "unlock"

# ---- signals ----
mkfifo pipe
others() { # what other processes see while the vault is locked
	"$holdfast" check >check.out 2>check.err
	check_rc=$?
	"$holdfast" unlock >unlock.out 2>/dev/null
}
signal() { # the first signals, the last signal
	cat /dev/zero >pipe &
	writer=$!
	"$holdfast" backup --stdin <pipe >out.raw 2>err.raw &
	pid=$!
	wait_for err.raw "backup of standard input"
	for _ in $(seq 200); do # until the vault is locked: the work has begun
		[ -n "$(ls vault/locks)" ] && break
		sleep 0.05
	done
	[ -z "$1" ] || kill "-$1" $pid
	[ "$1" != USR1 ] || wait_for err.raw " items  "
	[ -z "$1" ] || others
	kill "-$2" $pid
	wait $pid
	rc=$?
	kill $writer 2>/dev/null # the pipe's end ended it
	wait $writer 2>/dev/null
	normal <out.raw >out
	normal <err.raw >err
}
signal USR1 INT
exits 130 "SIGINT"
rc=$check_rc
exits 11 "check waits for nobody: the vault is locked"
says check.err "the vault is locked by another process (busy, SEV-3, code 4560)" "and says so"
says unlock.out "its process is alive" "unlock leaves a living lock"
last_line unlock.out '^0 locks removed, 1 left$' "and counts it"
says err "interrupted: " "an interruption is told as one"
says err "remaining: " "with what remains"
[ -z "$(ls vault/locks)" ]
result $? "the lock is gone"
last=$(ls -t state/holdfast/runs | head -n 1)
cp "state/holdfast/runs/$last/run_report.json" out
says out '"exitCode":130,"failureCode":"interrupted"' "and the report is there"
signal "" TERM
exits 143 "SIGTERM"
says err "the run was asked to stop (interrupted, SEV-3, code 7011)" "is told apart"
signal HUP INT
exits 130 "SIGHUP is ignored while a vault is open"

# ---- run folders ----
hf runs --latest 2
last_line out '^2 runs in TOP/state/holdfast/runs$' "runs"
hf runs --json
says out '"status":"failure","failure":"restore-refused"' "runs --json knows refusals"
[ "$(stat -c %a "state/holdfast/runs/$last" "state/holdfast/runs/$last/run_report.json" | tr '\n' ' ')" = "700 600 " ]
result $? "run folders are private"
! grep -rqF third state
result $? "no password in any run folder"
run env XDG_STATE_HOME=$top/pw "$holdfast" backup src
exits 25 "no run folder, no backup"
is_text err "no run folder, to the letter" <<'END'
refused: the run's report could not be written (state-write-failed, SEV-2, code 6000)
  what     backup of src into TOP/vault
  why      making the run folder: mkdir TOP/pw: File exists (EEXIST)
  next     1. Make the state directory writable, or set XDG_STATE_HOME.
END
run env XDG_STATE_HOME=$top/pw "$holdfast" check
exits 0 "reading goes on without one"
says err "warning: this run leaves no report" "but says so"
{
	"$holdfast" ls latest --host ''
	echo "$?" >left
} 2>err | true
rc=$(cat left)
cp err out
exits 25 "a reader that has left"
[ ! -s err ]
result $? "is not talked about"
"$holdfast" snapshots >/dev/full 2>err
rc=$?
: >out
exits 25 "a result that cannot be printed is a failure"
says err "the output could not be written (state-write-failed, SEV-2, code 7012)" "and is told"
run env XDG_STATE_HOME=$top/pw "$holdfast" runs
exits 26 "run folders that cannot be listed"
says err "a run's report could not be read (state-read-failed, SEV-2, code 6001)" "are told"

echo "1..$n"
