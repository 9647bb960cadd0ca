# Sorts the samples of `perf script -F comm,pid,ip,sym` into the phases of a start; see tools/profile-launch.
# Each sample is a line "COMMAND PID", then its call chain, innermost first. The first phase whose pattern is found anywhere in the chain takes the sample.

BEGIN {
    phase(" (net) make, bring up, take down the network",
        "copy_net_ns|cleanup_net|inet_ioctl|sock_do_ioctl|sock_ioctl|__x64_sys_socket |net_ns|icmp_|ip6_|fib_|rtnl_")
    phase(" (mounts) namespace, mounts, devices, change of root",
        "copy_mnt_ns|put_mnt_ns|free_mnt_ns|__x64_sys_(fsopen|fsconfig|fsmount|open_tree|open_tree_attr|move_mount|mount_setattr|mount|umount|mknodat|symlinkat|mkdirat|fchmodat|fchmodat2|fchownat|openat2) |__do_sys_(fsopen|fsconfig|fsmount|open_tree|move_mount|mount_setattr|pivot_root) |cleanup_mnt|mntput|shmem_evict|deactivate_super")
    phase(" (cgroup) make, limit, join, remove",
        "cgroup|css_|kernfs_|memcg_(off|on)line|mem_cgroup_css|sched_(on|off|un)line_group|sched_free_group|sched_destroy_group")
    phase(" (ids) ipc, uts, pid and user namespaces, credentials, keys",
        "copy_ipcs|free_ipc|copy_pid_ns|copy_utsname|create_user_ns|put_user_ns|free_user_ns|destroy_pid_ns|__do_sys_(setns|keyctl|prctl|capset) |__x64_sys_(setns|keyctl|prctl|capset|setres.id|setgroups|unshare) |commit_creds")
    phase(" (seccomp) the filter", "seccomp|bpf_prog|bpf_migrate")
    phase(" (exec) the task's program", "execve|load_elf|begin_new_exec")
    phase(" (clone) processes", "clone|copy_process|ret_from_fork_asm fork|dup_mm")
    phase(" (exit) processes", "do_exit|exit_group|release_task|wait4|waitid|mmput|put_task|delayed_put")
    phase(" (faults) pages copied or made on first touch", "exc_page_fault|handle_mm_fault")
    phase(" (files) status, log, attempt's directory, /proc",
        "__x64_sys_(open|openat|mkdir|rename|renameat|renameat2|write|read|close|statx|unlink|unlinkat|ftruncate|fsync|pwrite64|rmdir|readlink|ioctl|fcntl|flock|close_range|dup2|dup3|pipe2) |__do_sys_(newfstatat|newfstat|close_range) |ksys_(read|write)")
    phase(" (wait) polling, signals, messages, switches", "__x64_sys|__do_sys|do_syscall_64|schedule|softirq|rcu_|sysvec")
}

function phase(name, pattern) {
    names[++phases] = name
    order[name] = phases
    patterns[phases] = pattern
}

# Whose sample it is: the launch path, the kernel's own threads (in the part of them that a start causes), or others.
function whose() {
    if (command ~ /^shoal-(runner|stub)/) return "Shoal"
    if (command == "true") return "task"
    if (command ~ /^(kworker|rcu|ksoftirqd)/ && chain ~ /cleanup_net|css_|cgroup|free_ipc|mntput|cleanup_mnt|kfree_rcu|kvfree|rcu_do_batch|sync_rcu_exp|put_pid|free_pid|delayed_put|delayed_fput|put_net|bpf_prog/) return "kernel"
    return ""
}

function finish(   who, i, n, frames, found, what) {
    who = whose()
    if (command == "" || who == "") return
    found = " (code) of the runner and the stub themselves"
    if (who == "task") found = " (code) of busybox itself"
    for (i = 1; i <= phases; i++) if (chain ~ patterns[i]) { found = names[i]; break }
    if (who == "kernel" && found ~ /^ \((wait|clone|files|faults)/) found = " (rcu) memory given back by the kernel later"
    sum[found, who]++
    total[found]++
    all[who]++
    everything++
    n = split(chain, frames, " ")
    what = ""
    for (i = n; i >= 1; i--) if (frames[i] ~ /^__(x64|do|se)_sys_|^cleanup_net$|^css_|^do_exit$|^exc_page_fault$|^rcu_do_batch$|^copy_.*ns|^copy_process$/) what = what " > " frames[i]
    detail[found, what]++
}

NF == 2 && $2 ~ /^[0-9]+$/ { finish(); command = $1; chain = " "; next }
NF >= 2 { chain = chain $2 " " }

END {
    finish()
    scale = 1e6 / frequency / starts
    printf "\n%-60s %9s %9s %9s %9s\n", "microseconds of processor time a start", "Shoal", "task", "kernel", "all"
    sorter = "sort -k1,1rn -k2,2 -k3,3n | cut -d' ' -f4-"
    for (name in total) {
        rank = total[name]
        printf "%d %d 0 %-60s %9.0f %9.0f %9.0f %9.0f\n", rank, order[name], name, sum[name, "Shoal"] * scale, sum[name, "task"] * scale, sum[name, "kernel"] * scale, total[name] * scale | sorter
        if (!functions) continue
        for (k = 1; k <= functions; k++) {
            best = ""
            for (key in detail) { split(key, part, SUBSEP); if (part[1] == name && !(key in done) && (best == "" || detail[key] > detail[best])) best = key }
            if (best == "" || detail[best] * scale < 5) break
            done[best] = 1
            split(best, part, SUBSEP)
            printf "%d %d %d       %7.0f %s\n", rank, order[name], k, detail[best] * scale, part[2] | sorter
        }
    }
    close(sorter)
    printf "%-60s %9.0f %9.0f %9.0f %9.0f\n", " sum", all["Shoal"] * scale, all["task"] * scale, all["kernel"] * scale, everything * scale
}
