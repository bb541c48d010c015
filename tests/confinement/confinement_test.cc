// SPDX-License-Identifier: Apache-2.0
// What a broken-into process gets: code of the test's own runs with exactly the Command that the supervisor starts the
// process with. Every attack is also run without confinement, where it must succeed, or refusing it would mean nothing.
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "qemu/args.h"
#include "supervisor/launch.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/unix_socket.h"

namespace pinhole::supervisor {
namespace {

namespace fs = std::filesystem;
using Act = std::pair<std::string, std::string>;

enum class Role { pep, vsockd, fsguard, virtiofsd, qemu };
constexpr Role kRoles[] = {Role::pep, Role::vsockd, Role::fsguard, Role::virtiofsd, Role::qemu};

std::string name_of(Role role) {
  switch (role) {
    case Role::pep:
      return "pep";
    case Role::vsockd:
      return "vsockd";
    case Role::fsguard:
      return "fsguard";
    case Role::virtiofsd:
      return "virtiofsd";
    case Role::qemu:
      return "qemu";
  }
  return "";
}

Fd listen_tcp(std::uint16_t& port) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(at);
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), length), 0);
  EXPECT_EQ(::listen(fd.get(), 64), 0);
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&at), &length);
  port = ntohs(at.sin_port);
  return fd;
}

Fd listen_abstract(const std::string& name) {
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path + 1, name.data(), name.size());
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at),
                   static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
            0);
  EXPECT_EQ(::listen(fd.get(), 64), 0);
  return fd;
}

Fd listen_datagrams(const fs::path& path) {
  Fd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un at{};
  at.sun_family = AF_UNIX;
  std::memcpy(at.sun_path, path.c_str(), path.string().size());
  EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&at), sizeof(at)), 0);
  return fd;
}

/// A user's home, a VM's folders and sockets, and what else lies around on a host, all real.
class Attack : public testing::Test {
 protected:
  void SetUp() override {
    home_ = fs::canonical(folder_.path());
    const config::Paths paths{.images = home_ / "images",
                              .vms = home_ / "vms",
                              .state = home_,
                              .runtime = home_ / "run",
                              .config = home_ / "config"};
    vm_ = config::vm_paths(paths, "web");
    for (const auto& dir : {vm_.audit, vm_.control, vm_.door, vm_.guest, vm_.vmm, vm_.names,
                            vm_.authority, home_ / "project"})
      fs::create_directories(dir);
    write(home_ / "secret");
    write(home_ / "policy.yaml");
    write(home_ / "project/file");
    write(vm_.disk);
    write(vm_.status_log);
    write(vm_.audit_log);
    write(vm_.names / kResolvConf);
    write(vm_.authority / "ca.key");
    plan_.name = "web";
    plan_.qemu = plan_.virtiofsd = PROBE;
    plan_.disk = {.path = vm_.disk, .format = config::DiskFormat::qcow2};
    plan_.shares = {{.tag = "workspace", .host = home_ / "project", .guest = "/workspace"}};
    plan_.policy = {{.layer = "session", .path = home_ / "policy.yaml", .name = "policy.yaml"}};
    for (const auto& path : {home_ / "docker.sock", vm_.control_socket, vm_.door_socket,
                             vm_.hello_socket, vm_.guest_base})
      listeners_.push_back(sys::listen_unix(path).value());
    listeners_.push_back(listen_tcp(port_));
    abstract_ = "pinhole-attack-" + std::to_string(::getpid());
    listeners_.push_back(listen_abstract(abstract_));
    ASSERT_EQ(::dup2(disk_.get(), 33), 33);  // not close-on-exec: spawn() has to see to it
    datagrams_ = listen_datagrams(home_ / "datagrams");
    ::setenv("SECRET_TOKEN", "secret", 1);
    ::prctl(PR_SET_DUMPABLE, 1);
  }
  void TearDown() override { ::close(33); }
  static void write(const fs::path& path) { ASSERT_TRUE(sys::write_file_atomic(path, "content")); }

  /// The Command that the supervisor would start this process with.
  sys::Command command_of(Role role) {
    const int log = 2;
    switch (role) {
      case Role::pep:
        return pep_command(PROBE, plan_, vm_, "boot",
                           {.control = log, .listener = log, .log = log});
      case Role::vsockd:
        return vsockd_command(PROBE, plan_, vm_, {.vhost = log, .base = log, .log = log});
      case Role::fsguard:
        return fsguard_command(PROBE, {.qemu = log, .server = log, .log = log});
      case Role::virtiofsd: {
        const sys::User user = sys::current_user().value();
        const auto uids = sys::subordinate_ids("/etc/subuid", user);
        const auto gids = sys::subordinate_ids("/etc/subgid", user);
        EXPECT_TRUE(uids && gids) << "the user running this test has no subordinate ids";
        return virtiofsd_command(plan_, plan_.shares.front(),
                                 {.user = user, .uids = *uids, .gids = *gids}, log, log);
      }
      case Role::qemu: {
        sys::Command command = qemu_command(
            plan_, files_, {.qmp = log, .console = log, .vsock = log, .shares = {log}, .log = log});
        return command;
      }
    }
    return {};
  }

  /// "reached", or why not.
  static std::string run_in(sys::Command command, const std::string& seal, const Act& act) {
    command.args = {seal, act.first, act.second};
    command.descriptors.erase(1);
    command.descriptors.erase(2);
    const auto output = sys::run(std::move(command), {.time = std::chrono::seconds(20)});
    if (!output) return "error: " + output.error().message;
    if (output->status.ok()) return "reached";
    const bool refused = !output->status.signaled && output->status.value == 1;
    return refused ? "refused: " + output->err : output->status.text() + " " + output->err;
  }
  static std::string seal_of(Role role) {
    // fsguard seals itself as vsockd does.
    if (role == Role::fsguard) return "vsockd";
    return role == Role::pep || role == Role::vsockd ? name_of(role) : "none";
  }
  std::string attack(Role role, const Act& act) {
    sys::Command command = command_of(role);
    for (auto& [number, fd] : command.descriptors) fd = fd < 0 ? disk_.get() : fd;
    auto isolation = sys::available(std::move(command.isolation), host_);
    if (!isolation) return "error: " + isolation.error().message;
    command.isolation = *std::move(isolation);
    return run_in(std::move(command), seal_of(role), act);
  }
  static std::string unconfined(const Act& act) {
    sys::Command command{.program = PROBE, .die_with_parent = true};
    if (act.first == "variable") command.environment[act.second] = "here";
    if (act.first == "descriptor") command.descriptors[std::stoi(act.second)] = 33;
    return run_in(std::move(command), "none", act);
  }
  void expect_refused(Role role, const Act& act) {
    const std::string got = attack(role, act);
    EXPECT_TRUE(got.starts_with("refused") || got == "was killed by SIGSYS ")
        << name_of(role) << ": " << act.first << " " << act.second << ": " << got;
  }
  void expect_reached(Role role, const Act& act) {
    EXPECT_EQ(attack(role, act), "reached")
        << name_of(role) << ": " << act.first << " " << act.second;
  }

  sys::TempDir folder_ = sys::TempDir::make().value();
  fs::path home_;
  config::VmPaths vm_;
  config::VmPlan plan_;
  MachineFiles files_;
  Fd disk_{::open("/etc/hosts", O_RDONLY | O_CLOEXEC)};
  std::vector<Fd> listeners_;
  Fd datagrams_;
  std::uint16_t port_ = 0;
  std::string abstract_;
  sys::HostConfinement host_ = sys::probe_host_confinement().value();
};

TEST_F(Attack, OnTheUsersFilesSocketsAndProcessesFailsFromEveryProcess) {
  ASSERT_EQ(sys::to_string(sys::rate(host_).rating), "full") << host_.namespaces_problem;
  const std::string self = std::to_string(::getpid());
  const std::vector<Act> acts = {
      {"read", home_ / "secret"},
      {"list", home_ / "config/.."},
      {"create", home_ / "planted"},
      {"unix", home_ / "docker.sock"},
      {"unix", vm_.control_socket},
      {"abstract", abstract_},
      {"datagram", home_ / "datagrams"},
      {"vsock", ""},
      {"read", vm_.disk},
      {"read", vm_.status_log},
      {"read", "/etc/passwd"},
      {"ptrace", self},
      {"memory", self},
      {"signal", self},
      {"see", self},
      {"exec", "/bin/true"},
      {"variable", "SECRET_TOKEN"},
      {"descriptor", "33"},
  };
  fs::create_directories(home_ / "config");
  for (const Act& act : acts) {
    EXPECT_EQ(unconfined(act), "reached") << act.first << " " << act.second;
    fs::remove(home_ / "planted");
    for (const Role role : kRoles) expect_refused(role, act);
  }
}

TEST_F(Attack, OnTheNetworkFailsButFromThePep) {
  for (const char* act : {"tcp", "udp"}) {
    const Act network{act, std::to_string(port_)};
    EXPECT_EQ(unconfined(network), "reached");
    for (const Role role : {Role::vsockd, Role::fsguard, Role::virtiofsd, Role::qemu})
      expect_refused(role, network);
    expect_reached(Role::pep, network);
  }
}

TEST_F(Attack, EachReachesWhatItsJobNeedsAndNotTheOthers) {
  struct Reach {
    Act act;
    std::vector<Role> by;
  };
  const std::vector<Reach> table = {
      {{"unix", vm_.door_socket}, {Role::vsockd}},
      {{"unix", vm_.hello_socket}, {Role::vsockd}},
      {{"read", home_ / "policy.yaml"}, {Role::pep}},
      {{"read", "/etc/hosts"}, {Role::pep}},
      {{"read", vm_.names / kResolvConf}, {Role::pep}},
      {{"list", "/etc/ssl/certs"}, {Role::pep}},
      {{"read", vm_.authority / "ca.key"}, {Role::pep}},
      {{"read", "/workspace/file"}, {Role::virtiofsd}},
      {{"read-descriptor", std::to_string(qemu::kDiskFd)}, {Role::qemu}},
  };
  for (const Reach& reach : table) {
    for (const Role role : kRoles) {
      if (std::ranges::find(reach.by, role) != reach.by.end()) {
        expect_reached(role, reach.act);
      } else {
        expect_refused(role, reach.act);
      }
    }
  }
  expect_reached(Role::virtiofsd, {"create", "/workspace/new"});
  EXPECT_TRUE(fs::exists(home_ / "project/new"));
  expect_refused(Role::pep, {"read", home_ / "project/file"});
#if !__has_feature(address_sanitizer)
  // Not even where it may write: its log is open, and it opens nothing else for writing.
  expect_refused(Role::pep, {"create", vm_.audit / "planted"});
  expect_refused(Role::pep, {"create", vm_.authority / "planted"});
#endif
}

TEST_F(Attack, QemuCannotWriteWhatItWasGivenToRead) {
  const Act reopen{"reopen", std::to_string(qemu::kDiskFd)};
  expect_reached(Role::qemu, {"read-descriptor", reopen.second});
  expect_refused(Role::qemu, reopen);
}

TEST_F(Attack, OnItsOwnTieToTheSupervisorFailsFromQemu) {
  expect_refused(Role::qemu, {"untie", ""});
  EXPECT_EQ(unconfined({"untie", ""}), "reached");
}

TEST_F(Attack, NobodyGetsNewRights) {
  for (const Role role : {Role::pep, Role::vsockd, Role::fsguard, Role::qemu}) {
    expect_refused(role, {"namespace", ""});
    expect_refused(role, {"mount", "/dev"});
  }
  expect_refused(Role::virtiofsd, {"setuid", "/workspace/file"});
  EXPECT_EQ(unconfined({"setuid", home_ / "project/file"}), "reached");
}

/// A host that grants no namespaces: what is left, and that it is said.
class AttackWithoutNamespaces : public Attack {
 protected:
  void SetUp() override {
    Attack::SetUp();
    host_.namespaces = false;
    if (host_.landlock_abi < 6) GTEST_SKIP() << "Landlock of this host is too old";
  }
  static constexpr Role kLeft[] = {Role::pep, Role::vsockd, Role::qemu};  // no workspace there
};

TEST_F(AttackWithoutNamespaces, IsRatedAndSaysWhatIsMissing) {
  const sys::Confinement confinement = sys::rate(host_);
  EXPECT_EQ(confinement.rating, sys::Rating::weak);
  ASSERT_EQ(confinement.missing.size(), 1U);
  EXPECT_THAT(confinement.missing[0], testing::StartsWith("no user namespaces: "));
}

TEST_F(AttackWithoutNamespaces, StillReachesNoFileNoNetworkAndNoProcess) {
  const std::string self = std::to_string(::getpid());
  for (const Act& act : std::vector<Act>{{"read", home_ / "secret"},
                                         {"create", home_ / "planted"},
                                         {"read", vm_.disk},
                                         {"read", "/etc/passwd"},
                                         {"abstract", abstract_},
                                         {"vsock", ""},
                                         {"ptrace", self},
                                         {"memory", self},
                                         {"signal", self},
                                         {"exec", "/bin/true"},
                                         {"variable", "SECRET_TOKEN"}}) {
    for (const Role role : kLeft) expect_refused(role, act);
  }
  for (const char* act : {"tcp", "udp"}) {
    const Act network{act, std::to_string(port_)};
    expect_refused(Role::vsockd, network);
    expect_refused(Role::qemu, network);
    expect_reached(Role::pep, network);
  }
}

TEST_F(AttackWithoutNamespaces, UnixSocketsWithAPathAreWhatVsockdAloneCanReach) {
  for (const Act& act : {Act{"unix", home_ / "docker.sock"}, Act{"unix", vm_.control_socket}}) {
    expect_refused(Role::qemu, act);  // makes no connection at all
    expect_refused(Role::pep, act);   // makes none of this kind
    expect_reached(Role::vsockd, act);
  }
}

}  // namespace
}  // namespace pinhole::supervisor
