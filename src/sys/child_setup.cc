// SPDX-License-Identifier: Apache-2.0
#include "sys/child_setup.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "sys/seccomp.h"

namespace pinhole::sys {
namespace {

/// The child's view of its own preparation: every step either works or reports and ends the child.
class Child {
 public:
  Child(const Command& command, const ChildPipes& pipes, uid_t uid, gid_t gid)
      : command_(command), pipes_(pipes), uid_(uid), gid_(gid) {}

  void require(bool worked, const char* step) const {
    if (worked) return;
    const SetupFailure failure{.error = errno, .step = step};
    [[maybe_unused]] const auto written = ::write(pipes_.report, &failure, sizeof(failure));
    ::_exit(127);
  }

  void reset_signals() const {
    for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
  }

  void leave_session() const {
    if (command_.new_session) require(::setsid() >= 0, "starting a session of its own");
  }

  void move_pipes_away() {
    // Of the go pipe we read: while we held its other end too, we would never see our parent die.
    ::close(pipes_.go_writer);
    // Above every number that a Command may ask for, so that placing those cannot overwrite these.
    for (int* fd : {&pipes_.report, &pipes_.ready, &pipes_.go}) {
      const int moved = ::fcntl(*fd, F_DUPFD_CLOEXEC, kFirstPrivateFd);
      require(moved >= 0, "moving descriptors");
      *fd = moved;
    }
  }

  void place_descriptors() const {
    std::vector<std::pair<int, int>> staged;
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    require(null >= 0, "opening /dev/null");
    for (int standard = 0; standard <= 2; ++standard) {
      if (!command_.descriptors.contains(standard)) staged.emplace_back(standard, null);
    }
    for (const auto& [target, source] : command_.descriptors) staged.emplace_back(target, source);
    // First out of the way of all targets, then into place: a source may be another one's target.
    for (auto& [target, source] : staged) {
      source = ::fcntl(source, F_DUPFD_CLOEXEC, kFirstPrivateFd);
      require(source >= 0, "copying descriptors");
    }
    int next = 3;
    for (const auto& [target, source] : staged) {
      require(::dup2(source, target) >= 0, "placing descriptors");
      next = std::max(next, target + 1);
    }
    // Close what lies between; from here on everything else is CLOEXEC.
    for (int fd = 3; fd < next; ++fd) {
      if (!command_.descriptors.contains(fd)) ::close(fd);
    }
    require(::syscall(SYS_close_range, static_cast<unsigned>(next), ~0U,
                      4U /* CLOSE_RANGE_CLOEXEC */) == 0,
            "keeping descriptors to itself (needs Linux 5.11)");
  }

  void map_ids() const {
    const Isolation& isolation = command_.isolation;
    if (!isolation.user) return;
    // Only a dumpable process owns its files in /proc, which the id maps are written through.
    ::prctl(PR_SET_DUMPABLE, 1);
    if (isolation.uid_map.empty()) {
      map_own_ids();
    } else {
      await_full_map();
    }
  }

  void change_root() const {
    if (!command_.isolation.root) return;
    const char* failed = enter_view(*command_.isolation.root);
    require(failed == nullptr, failed);
  }

  void drop_rights() const {
    require(forbid_core_dumps(), "switching core dumps off");
    for (const ResourceLimit& limit : command_.limits) {
      const rlimit both{limit.value, limit.value};
      require(::setrlimit(static_cast<__rlimit_resource_t>(limit.resource), &both) == 0,
              "limiting its resources");
    }
    ::umask(077);
    if (!command_.may_gain_privileges) {
      require(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "giving up new privileges");
    }
    if (command_.isolation.landlock) {
      const char* failed = enter_landlock(*command_.isolation.landlock);
      require(failed == nullptr, failed);
    }
    errno = load_spawn_filter(command_.filter);
    require(errno == 0, "loading the system call filter");
  }

  void tie_to_parent() const {
    if (!command_.die_with_parent) return;
    // Again after the namespaces: a change of credentials clears it. A parent that died before is seen by its end of
    // the pipe; its pid says nothing in another PID namespace.
    require(::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0, "tying its life to its parent");
    pollfd parent{.fd = pipes_.go, .events = 0, .revents = 0};
    if (::poll(&parent, 1, 0) == 1 && (parent.revents & POLLHUP) != 0) ::_exit(127);
  }

  [[noreturn]] void execute() const {
    require(::chdir(command_.working_dir.c_str()) == 0, "entering its working folder");
    std::vector<std::string> words{command_.program.string()};
    words.insert(words.end(), command_.args.begin(), command_.args.end());
    std::vector<std::string> variables;
    for (const auto& [name, value] : command_.environment) variables.push_back(name + "=" + value);
    ::execve(command_.program.c_str(), pointers(words).data(), pointers(variables).data());
    require(false, "executing it");
    ::_exit(127);
  }

 private:
  static constexpr int kFirstPrivateFd = 200;

  static std::vector<char*> pointers(std::vector<std::string>& texts) {
    std::vector<char*> result;
    for (std::string& text : texts) result.push_back(text.data());
    result.push_back(nullptr);
    return result;
  }

  void write_proc(const char* path, const std::string& text, const char* step) const {
    const int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    require(fd >= 0, step);
    require(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), step);
    ::close(fd);
  }

  void map_own_ids() const {
    write_proc("/proc/self/setgroups", "deny", "refusing setgroups");
    write_proc("/proc/self/uid_map", fmt::format("{0} {0} 1", uid_), "mapping its user id");
    write_proc("/proc/self/gid_map", fmt::format("{0} {0} 1", gid_), "mapping its group id");
  }

  void await_full_map() const {
    char byte = 'r';
    require(::write(pipes_.ready, &byte, 1) == 1, "asking for its id map");
    if (::read(pipes_.go, &byte, 1) != 1) ::_exit(127);  // the parent failed and says so itself
    require(::setresgid(0, 0, 0) == 0 && ::setresuid(0, 0, 0) == 0,
            "becoming id 0 of its namespace");
  }

  const Command& command_;
  ChildPipes pipes_;
  uid_t uid_;  // outside: before the maps are written, the namespace has no name for them
  gid_t gid_;
};

}  // namespace

int clone_flags(const Isolation& isolation) {
  int flags = 0;
  if (isolation.user) flags |= CLONE_NEWUSER;
  if (isolation.network) flags |= CLONE_NEWNET;
  if (isolation.ipc) flags |= CLONE_NEWIPC;
  if (isolation.pid) flags |= CLONE_NEWPID;
  if (isolation.root) flags |= CLONE_NEWNS;
  return flags;
}

void become_child(const Command& command, const ChildPipes& pipes, uid_t uid, gid_t gid) {
  Child child(command, pipes, uid, gid);
  child.move_pipes_away();
  child.tie_to_parent();
  child.reset_signals();
  child.leave_session();
  child.place_descriptors();
  child.map_ids();
  child.change_root();
  child.tie_to_parent();
  child.drop_rights();
  child.execute();
}

}  // namespace pinhole::sys
