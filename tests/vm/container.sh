# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
# container.sh - boot a root in systemd-nspawn, look inside, pull the plug (sourced by bash tests)
#
# container_init DIR		DIR/root becomes an overlay on the cached Debian root (see root-build)
# container_boot		boots DIR/root; returns when its systemd answers; sets $container_pid1
# container_run CMD...		runs a command inside all of its namespaces
# container_cut			SIGKILL to its PID 1: what a power cut is to its processes
# container_done		cuts, and takes away everything container_init made but DIR itself
#
# The container shares the kernel, so what it flushed is not what counts; its processes are, and its boot id:
# nspawn mounts a new one over /proc/sys/kernel/random/boot_id for each boot.

container_dir=
container_pid1=
container_nspawn=
container_name=
container_made_run_dir=

container_init() {
	local lower
	container_dir=$1
	container_name=snapmgr-test-$$
	[ -e /run/systemd/nspawn ] || container_made_run_dir=yes
	lower=$("$(dirname "${BASH_SOURCE[0]}")/root-build") || return
	mkdir -p "$container_dir"/{root,upper,work}
	mount -t overlay overlay "$container_dir/root" \
		-o "lowerdir=$lower,upperdir=$container_dir/upper,workdir=$container_dir/work"
}

# A cgroup of its own in every hierarchy that systemd uses, so that nspawn need not ask the host's
# systemd, which may not be there.
container_enter_cgroup() {
	local hierarchy
	for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
		[ -e "$hierarchy/cgroup.procs" ] || continue
		mkdir -p "$hierarchy/$container_name" &&
			echo "$BASHPID" >"$hierarchy/$container_name/cgroup.procs"
	done
}

container_boot() {
	local i
	(
		container_enter_cgroup
		export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 SYSTEMD_NSPAWN_API_VFS_WRITABLE=1
		export SYSTEMD_SECCOMP=0
		exec systemd-nspawn --quiet --boot -D "$container_dir/root" \
			--machine="$container_name" --register=no --keep-unit --private-network \
			--link-journal=no --console=pipe --capability=all --kill-signal=SIGKILL \
			</dev/null >>"$container_dir/console" 2>&1
	) &
	container_nspawn=$!
	container_pid1=
	for ((i = 0; i < 600; i++)); do
		kill -0 "$container_nspawn" 2>/dev/null || break
		# The child of nspawn that is PID 1 of a namespace and has become systemd.
		container_pid1=$(pgrep -P "$container_nspawn" | head -n 1)
		if [ -n "$container_pid1" ] &&
			[ "$(cat "/proc/$container_pid1/comm" 2>/dev/null)" = systemd ] &&
			container_run systemctl is-system-running 2>/dev/null |
				grep -q -x -e running -e degraded -e starting; then
			return 0
		fi
		sleep 0.05
	done
	echo "the container did not come up; its console:" >&2
	tail -n 20 "$container_dir/console" >&2
	return 1
}

container_run() {
	nsenter --target "$container_pid1" --all --root --wd=/ "$@"
}

container_cut() {
	[ -n "$container_nspawn" ] || return 0
	[ -z "$container_pid1" ] || kill -KILL "$container_pid1" 2>/dev/null
	wait "$container_nspawn" 2>/dev/null
	container_nspawn=
	container_pid1=
}

container_done() {
	local hierarchy
	if [ -n "$container_nspawn" ] && [ -z "$container_pid1" ]; then
		kill -KILL "$container_nspawn" 2>/dev/null
	fi
	container_cut
	[ -z "$container_dir" ] || umount "$container_dir/root" 2>/dev/null
	for hierarchy in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
		[ -d "$hierarchy/$container_name" ] || continue
		find "$hierarchy/$container_name" -depth -type d -exec rmdir {} + 2>/dev/null
	done
	# nspawn leaves its mount propagation directory behind, empty.
	if [ -n "$container_made_run_dir" ]; then
		find /run/systemd/nspawn -depth \( -type d -empty -o -type f \) -delete 2>/dev/null
	fi
	return 0
}
