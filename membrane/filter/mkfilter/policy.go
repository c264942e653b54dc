package main

import "golang.org/x/sys/unix"

// The rules follow systemd's @system-service (systemd.exec(5), SystemCallFilter=), RestrictNamespaces=, RestrictSUIDSGID=,
// LockPersonality=, RestrictAddressFamilies= and SystemCallArchitectures=native, less keyrings, io_uring and userfaultfd, with what lets
// a program restrict itself further (landlock, seccomp) and what is newer than systemd 252.

// allowed are calls that need no look at their arguments.
const allowed = `
accept accept4 access alarm arch_prctl bind brk cachestat capget capset chdir chown clock_getres clock_gettime clock_nanosleep close
close_range connect copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2
execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchown fchownat fcntl fdatasync fgetxattr flistxattr flock
fork fremovexattr fsetxattr fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake futimesat get_mempolicy
get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp
getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_setup
io_submit ioprio_get ioprio_set kcmp kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lgetxattr link linkat
listen listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat madvise map_shadow_stack mbind membarrier memfd_create
migrate_pages mincore mlock mlock2 mlockall mmap move_pages mprotect mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink
mremap mseal msgctl msgget msgrcv msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat pause pidfd_getfd pidfd_open
pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64 process_madvise
process_mrelease process_vm_readv process_vm_writev pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom
recvmmsg recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending
rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam
sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop sendfile sendmmsg sendmsg sendto set_mempolicy
set_mempolicy_home_node set_robust_list set_thread_area set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority
setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack
signalfd signalfd4 splice stat statfs statx symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete
timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill truncate umask uname unlink unlinkat
uretprobe utime utimensat utimes vfork vmsplice wait4 waitid write writev`

// test looks at the lower 32 bits of an argument, which is all that the kernel looks at in those below: it is one of values or, without
// any, has one of the bits of mask.
type test struct {
	arg    int
	mask   uint32
	values []uint32
}

// call is one whose arguments decide: the first case of which all tests hold, or otherwise. 0 is allowed.
type call struct {
	name      string
	cases     []kase
	otherwise unix.Errno
}

type kase struct {
	when  []test
	errno unix.Errno
}

const (
	namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	setid      = unix.S_ISUID | unix.S_ISGID
	creates    = unix.O_CREAT | unix.O_TMPFILE&^unix.O_DIRECTORY
)

func bits(arg int, mask uint32) test        { return test{arg: arg, mask: mask} }
func is(arg int, values ...uint32) test     { return test{arg: arg, values: values} }
func refuse(name string, when ...test) call { return call{name, []kase{{when, unix.EPERM}}, 0} }

var calls = []call{
	// A file that becomes its owner when it runs would carry the owner's rights out of the cell.
	refuse("chmod", bits(1, setid)),
	refuse("fchmod", bits(1, setid)),
	refuse("fchmodat", bits(2, setid)),
	refuse("fchmodat2", bits(2, setid)),
	refuse("creat", bits(1, setid)),
	refuse("mkdir", bits(1, setid)),
	refuse("mkdirat", bits(2, setid)),
	refuse("mknod", bits(1, setid)),
	refuse("mknodat", bits(2, setid)),
	// Where nothing is created the mode is whatever was in the register.
	refuse("open", bits(1, creates), bits(2, setid)),
	refuse("openat", bits(2, creates), bits(3, setid)),
	// Their arguments are in memory, where no filter can look: programs then take the older call.
	{name: "openat2", otherwise: unix.ENOSYS},
	{name: "clone3", otherwise: unix.ENOSYS},
	refuse("clone", bits(0, namespaces)),
	refuse("unshare", bits(0, namespaces|unix.CLONE_NEWTIME)),
	{name: "personality", cases: []kase{{[]test{is(0, 0, 0xffffffff)}, 0}}, otherwise: unix.EPERM},
	// Families that no network namespace holds, such as AF_VSOCK, and those that load a module each.
	{name: "socket", cases: []kase{
		{[]test{is(0, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6)}, 0},
		{[]test{is(0, unix.AF_NETLINK), is(2, unix.NETLINK_ROUTE)}, 0},
	}, otherwise: unix.EAFNOSUPPORT},
	{name: "socketpair", cases: []kase{{[]test{is(0, unix.AF_UNIX)}, 0}}, otherwise: unix.EAFNOSUPPORT},
	// Input that a terminal would take for typed.
	refuse("ioctl", is(1, unix.TIOCSTI, unix.TIOCLINUX)),
}
