// SPDX-License-Identifier: Apache-2.0
#include "sys/seccomp.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include <seccomp.h>

namespace pinhole::sys {
namespace {

constexpr ArgumentIs kNotExecutable = {.index = 2, .mask = PROT_EXEC, .value = 0};

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PINHOLE_SANITIZED 1
#endif
#endif

constexpr auto kRunning = std::to_array<AllowedCall>({
    {"read"},
    {"write"},
    {"readv"},
    {"writev"},
    {"pread64"},
    {"pwrite64"},
    {"lseek"},
    {"close"},
    {"dup"},
    {"fcntl"},
    {"fstat"},
    {"fsync"},
    {"fdatasync"},
    {"brk"},
    {"mmap", kNotExecutable},
    {"mprotect", kNotExecutable},
    {"munmap"},
    {"mremap"},
    {"madvise"},
    {"futex"},
    {"getrandom"},
    {"clock_gettime"},
    {"clock_getres"},
    {"clock_nanosleep"},
    {"nanosleep"},
    {"gettimeofday"},
    {"time"},
    {"rt_sigaction"},
    {"rt_sigprocmask"},
    {"rt_sigreturn"},
    {"sigaltstack"},
    {"restart_syscall"},
    {"getpid"},
    {"gettid"},
    {"getuid"},
    {"tgkill"},  // of this process alone: see seal()
    {"exit"},
    {"exit_group"},
    {"rseq"},
    {"set_robust_list"},
    {"sched_yield"},
#ifdef PINHOLE_SANITIZED
    // AddressSanitizer reads /proc/self/maps for a report, and ends by way of the leak check.
    {"openat"},
    {"readlink"},
    {"newfstatat"},
    {"prctl"},
    {"sched_getaffinity"},
    {"getrlimit"},
    {"prlimit64"},
    {"ioctl"},
    {"pipe2"},
#endif
});

constexpr auto kEventLoop = std::to_array<AllowedCall>({
    {"epoll_create1"}, {"epoll_ctl"},  {"epoll_wait"},     {"epoll_pwait"},     {"poll"},
    {"ppoll"},         {"eventfd2"},   {"timerfd_create"}, {"timerfd_settime"}, {"accept"},
    {"accept4"},       {"recvmsg"},    {"recvfrom"},       {"sendmsg"},         {"sendto"},
    {"shutdown"},      {"getsockopt"}, {"setsockopt"},     {"getsockname"},     {"getpeername"},
});

using Filter = std::unique_ptr<void, decltype(&seccomp_release)>;

int add(scmp_filter_ctx filter, std::uint32_t action, int call,
        const std::optional<ArgumentIs>& only) {
  if (!only) return seccomp_rule_add_array(filter, action, call, 0, nullptr);
  const scmp_arg_cmp match = {
      .arg = only->index, .op = SCMP_CMP_MASKED_EQ, .datum_a = only->mask, .datum_b = only->value};
  return seccomp_rule_add_array(filter, action, call, 1, &match);
}

scmp_arg_cmp compare(const ArgumentIs& is) {
  return {.arg = is.index, .op = SCMP_CMP_MASKED_EQ, .datum_a = is.mask, .datum_b = is.value};
}

int allow(scmp_filter_ctx filter, int call, const AllowedCall& allowed) {
  std::vector<scmp_arg_cmp> matches;
  if (allowed.only) matches.push_back(compare(*allowed.only));
  for (const auto& also : allowed.also) {
    if (also) matches.push_back(compare(*also));
  }
  return seccomp_rule_add_array(filter, SCMP_ACT_ALLOW, call, static_cast<unsigned>(matches.size()),
                                matches.data());
}

/// Calls whose mode argument would make a setuid file or a device.
int serve_files_only(scmp_filter_ctx filter) {
  struct ModeArgument {
    int call;
    unsigned index;
  };
  constexpr int kFchmodat2 = 452;  // newer than libseccomp 2.5's table
  const ModeArgument with_mode[] = {
      {SCMP_SYS(chmod), 1},   {SCMP_SYS(fchmod), 1}, {SCMP_SYS(fchmodat), 2}, {kFchmodat2, 2},
      {SCMP_SYS(open), 2},    {SCMP_SYS(openat), 3}, {SCMP_SYS(creat), 1},    {SCMP_SYS(mkdir), 1},
      {SCMP_SYS(mkdirat), 2}, {SCMP_SYS(mknod), 1},  {SCMP_SYS(mknodat), 2},
  };
  constexpr std::uint32_t kRefuse = SCMP_ACT_ERRNO(EPERM);
  for (const auto& [call, index] : with_mode) {
    for (const std::uint64_t bit : {std::uint64_t{S_ISUID}, std::uint64_t{S_ISGID}}) {
      if (const int error = add(filter, kRefuse, call, ArgumentIs{index, bit, bit}); error != 0)
        return error;
    }
  }
  for (const std::uint64_t type : {std::uint64_t{S_IFCHR}, std::uint64_t{S_IFBLK}}) {
    for (const auto& [call, index] :
         {ModeArgument{SCMP_SYS(mknod), 1}, ModeArgument{SCMP_SYS(mknodat), 2}}) {
      if (const int error = add(filter, kRefuse, call, ArgumentIs{index, S_IFMT, type}); error != 0)
        return error;
    }
  }
  for (const int call :
       {SCMP_SYS(socket), SCMP_SYS(socketpair), SCMP_SYS(connect), SCMP_SYS(bind)}) {
    if (const int error = add(filter, kRefuse, call, {}); error != 0) return error;
  }
  // These carry the mode in memory, where a filter cannot look; callers fall back to the ones above.
  for (const int call : {SCMP_SYS(openat2), SCMP_SYS(io_uring_setup)}) {
    if (const int error = add(filter, SCMP_ACT_ERRNO(ENOSYS), call, {}); error != 0) return error;
  }
  return 0;
}

int allow_descriptors_only(scmp_filter_ctx filter) {
  const int refused[] = {
      SCMP_SYS(socket),
      SCMP_SYS(socketpair),  // one of datagrams reaches whatever has a name
      SCMP_SYS(connect),
      SCMP_SYS(bind),
      SCMP_SYS(listen),
      SCMP_SYS(accept),
      SCMP_SYS(accept4),
      SCMP_SYS(ptrace),
      SCMP_SYS(process_vm_readv),
      SCMP_SYS(process_vm_writev),
      SCMP_SYS(process_madvise),
      SCMP_SYS(pidfd_getfd),
      SCMP_SYS(pidfd_open),
      SCMP_SYS(kcmp),
      SCMP_SYS(unshare),
      SCMP_SYS(setns),
      SCMP_SYS(mount),
      SCMP_SYS(umount2),
      SCMP_SYS(pivot_root),
      SCMP_SYS(chroot),
      SCMP_SYS(fsopen),
      SCMP_SYS(fsmount),
      SCMP_SYS(open_tree),
      SCMP_SYS(move_mount),
      SCMP_SYS(mount_setattr),
      SCMP_SYS(keyctl),
      SCMP_SYS(add_key),
      SCMP_SYS(request_key),
      SCMP_SYS(bpf),
      SCMP_SYS(perf_event_open),
      SCMP_SYS(userfaultfd),
      SCMP_SYS(open_by_handle_at),
      SCMP_SYS(name_to_handle_at),
      SCMP_SYS(init_module),
      SCMP_SYS(finit_module),
      SCMP_SYS(delete_module),
      SCMP_SYS(kexec_load),
      SCMP_SYS(kexec_file_load),
      SCMP_SYS(reboot),
      SCMP_SYS(swapon),
      SCMP_SYS(swapoff),
      SCMP_SYS(quotactl),
      SCMP_SYS(acct),
      SCMP_SYS(syslog),
      SCMP_SYS(setuid),
      SCMP_SYS(setgid),
      SCMP_SYS(setresuid),
      SCMP_SYS(setresgid),
      SCMP_SYS(vhangup),
      SCMP_SYS(fanotify_init),
      SCMP_SYS(lookup_dcookie),
      SCMP_SYS(personality),
  };
  for (const int call : refused) {
    if (const int error = add(filter, SCMP_ACT_ERRNO(EPERM), call, {}); error != 0) return error;
  }
  // io_uring performs calls that no filter sees, and clone3 has its flags in memory; QEMU and libc fall back.
  for (const int call : {SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter),
                         SCMP_SYS(io_uring_register), SCMP_SYS(clone3)}) {
    if (const int error = add(filter, SCMP_ACT_ERRNO(ENOSYS), call, {}); error != 0) return error;
  }
  // Its life stays tied to its parent's, and its memory its own.
  for (const int option : {PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_PTRACER}) {
    if (const int error =
            add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl),
                ArgumentIs{.mask = 0xffffffff, .value = static_cast<std::uint64_t>(option)});
        error != 0)
      return error;
  }
  const std::uint64_t new_user = CLONE_NEWUSER;
  return add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), ArgumentIs{0, new_user, new_user});
}

}  // namespace

std::span<const AllowedCall> running_calls() { return kRunning; }
std::span<const AllowedCall> event_loop_calls() { return kEventLoop; }

Result<void> seal(std::initializer_list<std::span<const AllowedCall>> lists) {
  const Filter filter(seccomp_init(SCMP_ACT_KILL_PROCESS), &seccomp_release);
  if (!filter) return fail("cannot make a system call filter: out of memory");
  for (const auto& list : lists) {
    for (const AllowedCall& call : list) {
      const int number = seccomp_syscall_resolve_name(call.name);
      if (number == __NR_SCMP_ERROR) continue;
      // abort() sends itself a signal; nobody else gets one.
      AllowedCall allowed = call;
      if (number == SCMP_SYS(tgkill))
        allowed.only = ArgumentIs{.value = static_cast<std::uint64_t>(::getpid())};
      if (const int error = allow(filter.get(), number, allowed); error != 0)
        return fail("cannot allow the system call {}: {}", call.name, errno_text(-error));
    }
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
    return fail("cannot give up new privileges: {}", errno_text(errno));
  if (const int error = seccomp_load(filter.get()); error != 0)
    return fail("cannot load the system call filter: {}", errno_text(-error));
  return {};
}

int load_spawn_filter(SpawnFilter wanted) {
  if (wanted == SpawnFilter::none) return 0;
  const Filter filter(seccomp_init(SCMP_ACT_ALLOW), &seccomp_release);
  if (!filter) return ENOMEM;
  int error = wanted == SpawnFilter::file_server ? serve_files_only(filter.get())
                                                 : allow_descriptors_only(filter.get());
  if (error == 0) error = seccomp_load(filter.get());
  return -error;
}

}  // namespace pinhole::sys
