// SPDX-License-Identifier: Apache-2.0
#include "agent/init.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>

#include "agent/daemon.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "sys/first_process.h"
#include "sys/user.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr const char* kNewRoot = "/root";
constexpr std::string_view kDiskSerial = "pinhole-disk";
constexpr milliseconds kDiskLimit{20'000};
constexpr std::size_t kMostModules = 64;
/// Where images have the agent; this one takes its place, so that the two cannot differ.
constexpr const char* kInstalledAgent = "/usr/lib/pinhole/pinhole-agent";

Result<void> mount_at(const char* source, const std::string& target, const char* type,
                      unsigned long flags, const char* options = nullptr) {
  if (::mount(source, target.c_str(), type, flags, options) == 0) return {};
  return fail("cannot mount {} at {}: {}", type == nullptr ? source : type, target,
              errno_text(errno));
}

void make_folder(const std::string& path, mode_t mode = 0755) {
  ::mkdir(path.c_str(), mode);
  ::chmod(path.c_str(), mode);  // whatever the umask is
}

Result<void> mount_early() {
  constexpr unsigned long kPlain = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  for (const char* folder : {"/proc", "/sys", "/dev", kNewRoot}) make_folder(folder);
  PINHOLE_TRY_VOID(mount_at("proc", "/proc", "proc", kPlain));
  PINHOLE_TRY_VOID(mount_at("sysfs", "/sys", "sysfs", kPlain));
  return mount_at("dev", "/dev", "devtmpfs", MS_NOSUID, "mode=0755");
}

// modules

Result<void> load_module(const std::string& name) {
  const Fd file(::open(("/modules/" + name).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail("cannot open module {}: {}", name, errno_text(errno));
  if (::syscall(SYS_finit_module, file.get(), "", 0) == 0 || errno == EEXIST) return {};
  return fail("cannot load module {}: {}", name, errno_text(errno));
}

Result<void> load_modules() {
  constexpr std::uint64_t kOrderBytes = 64 << 10;
  PINHOLE_TRY(const std::string text, sys::read_file("/modules/order", kOrderBytes));
  PINHOLE_TRY(const auto order, parse_module_order(text));
  for (const std::string& name : order) {
    // Whether it is needed, a later step tells: what this machine has no device for is not.
    if (auto loaded = load_module(name); !loaded)
      log(LogLevel::error, "{}", loaded.error().message);
  }
  return {};
}

// root

/// The kernel's events of devices; opened before the first look, so that none is missed.
Fd device_events() {
  Fd socket(
      ::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;
  if (!socket || ::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0)
    return Fd();
  return socket;
}

std::string names_in(const fs::path& folder) {
  std::string names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error))
    names += " " + entry.path().filename().string();
  return names.empty() ? " none" : names;
}

Result<std::string> await_root_device() {
  const Fd events = device_events();
  const auto until = steady_clock::now() + kDiskLimit;
  for (;;) {
    const std::string disk = find_disk("/sys/block", kDiskSerial);
    const std::string device = "/dev/" + disk + "2";
    if (!disk.empty() && ::access(device.c_str(), F_OK) == 0) return device;
    const auto left = std::chrono::duration_cast<milliseconds>(until - steady_clock::now()).count();
    if (left <= 0) {
      return fail("no disk \"{}\" with a second partition appeared within {} s; there are:{}",
                  kDiskSerial, kDiskLimit.count() / 1000, printable(names_in("/sys/class/block")));
    }
    pollfd waiting{.fd = events.get(), .events = POLLIN, .revents = 0};
    constexpr int kLookAgainMs = 1000;  // an event may be lost where very many come
    ::poll(&waiting, 1, kLookAgainMs);
    std::array<char, 4096> event;
    while (events && ::recv(events.get(), event.data(), event.size(), 0) > 0) {
    }
  }
}

/// The initramfs is memory: what it holds goes, but for this program, which is open.
void empty_initramfs() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/modules", error))
    ::unlink(entry.path().c_str());
  ::rmdir("/modules");
}

Result<void> change_root() {
  for (const char* folder : {"/dev", "/proc", "/sys"}) {
    const std::string target = std::string(kNewRoot) + folder;
    make_folder(target);
    if (::mount(folder, target.c_str(), nullptr, MS_MOVE, nullptr) != 0)
      return fail("cannot move {} to the new root: {}", folder, errno_text(errno));
  }
  const std::string installed = std::string(kNewRoot) + kInstalledAgent;
  if (::mount("/init", installed.c_str(), nullptr, MS_BIND, nullptr) != 0)
    log(LogLevel::warning, "the image's own {} stays: {}", kInstalledAgent, errno_text(errno));
  empty_initramfs();
  if (::chdir(kNewRoot) != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0)
    return fail("cannot change the root: {}", errno_text(errno));
  return {};
}

Result<void> enter_root() {
  PINHOLE_TRY(const std::string device, await_root_device());
  PINHOLE_TRY_VOID(mount_at(device.c_str(), kNewRoot, "ext4", MS_NOATIME));
  return change_root();
}

// system

Result<void> mount_system() {
  make_folder("/run");
  PINHOLE_TRY_VOID(mount_at("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=20%"));
  for (const char* folder : {"/run/lock", "/tmp"}) make_folder(folder, 01777);
  make_folder("/run/pinhole");
  make_folder("/dev/pts");
  make_folder("/dev/shm");
  PINHOLE_TRY_VOID(mount_at("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                            "gid=5,mode=0620,ptmxmode=0666"));
  PINHOLE_TRY_VOID(mount_at("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777"));
  if (auto cgroups = mount_at("cgroup2", "/sys/fs/cgroup", "cgroup2",
                              MS_NOSUID | MS_NODEV | MS_NOEXEC, "nsdelegate");
      !cgroups) {
    log(LogLevel::warning, "{}", cgroups.error().message);
  }
  return {};
}

void write_text(const char* path, std::string_view text) {
  const Fd file(::open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (!file || !sys::write_all(file.get(), text))
    log(LogLevel::warning, "cannot write {}: {}", path, errno_text(errno));
}

/// What systemd sets and its distributions count on (sysctl.d of systemd and Debian).
void set_kernel_parameters() {
  constexpr std::pair<const char*, const char*> kParameters[] = {
      {"/proc/sys/fs/protected_hardlinks", "1"},
      {"/proc/sys/fs/protected_symlinks", "1"},
      {"/proc/sys/fs/protected_fifos", "1"},
      {"/proc/sys/fs/protected_regular", "2"},
      {"/proc/sys/kernel/pid_max", "4194304"},
      {"/proc/sys/net/ipv4/ping_group_range", "0 2147483647"},
  };
  for (const auto& [path, value] : kParameters) write_text(path, value);
}

/// The kernel's own limit of 4096 open files is too few for today's builds.
void raise_limits() {
  const rlimit files{.rlim_cur = 1024, .rlim_max = 524288};
  ::setrlimit(RLIMIT_NOFILE, &files);
}

/// A program's own leftovers in /tmp are no use to the next boot, and its sockets and locks harm.
void empty_tmp() {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/tmp", error)) {
    if (auto removed = sys::remove_tree(entry.path()); !removed)
      log(LogLevel::warning, "{}", removed.error().message);
  }
}

/// As systemd does on a first boot: machine-id(5).
void give_machine_id() {
  constexpr std::size_t kIdBytes = 16;
  constexpr std::uint64_t kLargest = 4096;
  const auto id = sys::read_file("/etc/machine-id", kLargest);
  if (id && trim(*id).size() == 2 * kIdBytes) return;
  write_text("/etc/machine-id", sys::random_hex(kIdBytes) + "\n");
}

int run_service() {
  // As the image's unit does for the EFI way: without the agent the machine is mute.
  write_text("/proc/self/oom_score_adj", "-900");
  Settings settings;
  settings.first_process = true;
  return run_daemon(std::move(settings));
}

}  // namespace

bool is_init(std::string_view argv0) { return ::getpid() == 1 && argv0 == "/init"; }

void run_init() {
  ::umask(022);
  ::signal(SIGPIPE, SIG_IGN);
  set_log("pinhole-init", LogLevel::info);
  const auto must = [](Result<void> done) {
    if (!done) sys::give_up(done.error());
  };
  must(mount_early());
  must(load_modules());
  must(enter_root());
  must(mount_system());
  set_kernel_parameters();
  raise_limits();
  empty_tmp();
  give_machine_id();
  sys::run_first_process(run_service);
}

std::string find_disk(const fs::path& sys_block, std::string_view serial) {
  constexpr std::uint64_t kSerialBytes = 4096;  // of a file of sysfs
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(sys_block, error)) {
    const auto found = sys::read_file(entry.path() / "serial", kSerialBytes);
    if (found && trim(*found) == serial) return entry.path().filename().string();
  }
  return {};
}

Result<std::vector<std::string>> parse_module_order(std::string_view text) {
  std::vector<std::string> order;
  for (const std::string_view line : split(text, '\n')) {
    const std::string_view name = trim(line);
    if (name.empty()) continue;
    if (name.contains('/')) return fail("\"{}\" is no module's name", printable(name));
    if (order.size() == kMostModules) return fail("more than {} modules", kMostModules);
    order.emplace_back(name);
  }
  return order;
}

}  // namespace pinhole::agent
