// SPDX-License-Identifier: Apache-2.0
// Stands in the place of an inner program, inside its confinement, and tries one thing: confinement_probe SEAL ACT [WORD…]
// SEAL is "vsockd" or "pep" for what these do to themselves before they serve, "none" for the others. Exit status 0: it
// could be done ("reached"); 1: refused, with the reason on stderr.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <string>

#include "pep/seal.h"
#include "vhost/seal.h"

namespace {

using Word = const std::string&;

bool connect_to(int family, const void* address, socklen_t length) {
  const int fd = ::socket(family, SOCK_STREAM, 0);
  return fd >= 0 && ::connect(fd, static_cast<const sockaddr*>(address), length) == 0;
}

bool tcp(Word port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return connect_to(AF_INET, &to, sizeof(to));
}

bool udp(Word port) {
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<std::uint16_t>(std::stoi(port)));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = ::socket(AF_INET, SOCK_DGRAM, 0);
  return fd >= 0 &&
         ::sendto(fd, "x", 1, 0, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 1;
}

bool unix_path(Word path) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path.data(), std::min(path.size(), sizeof(to.sun_path) - 1));
  return connect_to(AF_UNIX, &to, sizeof(to));
}

bool abstract(Word name) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path + 1, name.data(), name.size());
  return connect_to(AF_UNIX, &to,
                    static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size()));
}

/// By way of a pair, whose ends have a family and a type already.
bool datagram(Word path) {
  int pair[2] = {-1, -1};
  if (::socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) != 0) return false;
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  std::memcpy(to.sun_path, path.data(), std::min(path.size(), sizeof(to.sun_path) - 1));
  return ::sendto(pair[0], "x", 1, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&to),
                  sizeof(to)) == 1;
}

bool vsock(Word) { return ::socket(AF_VSOCK, SOCK_STREAM, 0) >= 0; }

bool untie(Word) { return ::prctl(PR_SET_PDEATHSIG, 0) == 0; }

bool reopen(Word number) { return ::open(("/proc/self/fd/" + number).c_str(), O_RDWR) >= 0; }

bool read_file(Word path) {
  char byte = 0;
  const int fd = ::open(path.c_str(), O_RDONLY);
  return fd >= 0 && ::read(fd, &byte, 1) == 1;
}

bool list(Word path) {
  std::error_code error;
  return std::filesystem::directory_iterator(path, error) != std::filesystem::directory_iterator();
}

bool create(Word path) { return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0600) >= 0; }

bool make_setuid(Word path) {
  struct stat info{};
  (void)::chmod(path.c_str(), 04755);
  return ::stat(path.c_str(), &info) == 0 && (info.st_mode & S_ISUID) != 0;
}

bool trace(Word pid) {
  return ::ptrace(PTRACE_SEIZE, std::atoi(pid.c_str()), nullptr, nullptr) == 0;
}

bool memory(Word pid) {
  char byte = 0;
  iovec here{&byte, 1};
  iovec there{
      &byte,
      1};  // both processes have something near their own stack; the answer is EFAULT, not EPERM
  return ::process_vm_readv(std::atoi(pid.c_str()), &here, 1, &there, 1, 0) >= 0 || errno == EFAULT;
}

bool signal_it(Word pid) { return ::kill(std::atoi(pid.c_str()), 0) == 0; }

bool see(Word pid) { return ::access(("/proc/" + pid).c_str(), F_OK) == 0; }

bool execute(Word path) {
  ::execl(path.c_str(), path.c_str(), nullptr);
  return false;
}

bool variable(Word name) { return ::getenv(name.c_str()) != nullptr; }

bool descriptor(Word number) { return ::fcntl(std::atoi(number.c_str()), F_GETFD) >= 0; }

bool read_descriptor(Word number) {
  char byte = 0;
  return ::pread(std::atoi(number.c_str()), &byte, 1, 0) == 1;
}

bool new_namespace(Word) { return ::unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0; }

bool mount_something(Word path) { return ::mount("tmpfs", path.c_str(), "tmpfs", 0, nullptr) == 0; }

const std::map<std::string, bool (*)(Word)> kActs = {
    {"tcp", tcp},
    {"udp", udp},
    {"unix", unix_path},
    {"abstract", abstract},
    {"datagram", datagram},
    {"vsock", vsock},
    {"untie", untie},
    {"reopen", reopen},
    {"read", read_file},
    {"list", list},
    {"create", create},
    {"setuid", make_setuid},
    {"ptrace", trace},
    {"memory", memory},
    {"signal", signal_it},
    {"see", see},
    {"exec", execute},
    {"variable", variable},
    {"descriptor", descriptor},
    {"read-descriptor", read_descriptor},
    {"namespace", new_namespace},
    {"mount", mount_something},
};

}  // namespace

int main(int argc, char** argv) {
  const std::string seal = argc > 1 ? argv[1] : "";
  const auto act = kActs.find(argc > 2 ? argv[2] : "");
  if (act == kActs.end()) return 99;
  if (seal == "vsockd" && !pinhole::vhost::seal()) return 98;
  if (seal == "pep" && !pinhole::pep::seal({})) return 98;
  const bool reached = act->second(argc > 3 ? argv[3] : "");
  if (!reached) std::fprintf(stderr, "%s\n", std::strerror(errno));
  ::_exit(reached ? 0 : 1);
}
