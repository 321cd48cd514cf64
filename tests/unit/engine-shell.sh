# SPDX-License-Identifier: GPL-2.0-or-later
# Sourced by the tests of the engine's command line. Sets $engine and $work, a directory that is the current one and
# goes at the end; a script's own cleanup() runs before.
engine=$(realpath "${ENGINE:-./snapmgr-engine}")
[[ -x $engine ]] || { echo "there is no $engine"; exit 1; }
work=$(mktemp -d) || exit 1
failed=0 passed=0
cleanup() { :; }
trap 'cleanup; rm -rf "$work"' EXIT
cd "$work" || exit 1
export HOME=$work # no default.conf of a person

# ok SENTENCE COMMAND...: the sentence is true when the command is
ok()
{
	local sentence=$1
	shift
	if "$@"; then
		((passed++))
		echo "ok: $sentence"
	else
		((failed++))
		echo "NOT OK: $sentence"
		sed 's/^/    out: /' out 2>/dev/null
		sed 's/^/    err: /' err 2>/dev/null
		[[ ! -e images/log ]] || tail -n 20 images/log | sed 's/^/    log: /'
	fi
}

# run STATUS ARGS...: the engine ends with that status
run()
{
	local wanted=$1 status
	shift
	"$engine" "$@" >out 2>err </dev/null
	status=$?
	[[ $status -eq $wanted ]] || { echo "exit status $status, not $wanted" >>err; return 1; }
}

# The last command of a test.
summary()
{
	echo "$passed passed, $failed failed"
	[[ $failed -eq 0 ]]
}
