// SPDX-License-Identifier: Apache-2.0
#include "doctor/tools.h"
#include "doctor/trial_folder.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cctype>
#include <cstring>

#include "base/printable.h"
#include "base/strings.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/unix_socket.h"

namespace pinhole::doctor {
namespace {

constexpr std::size_t kShownOutput = 300;

/// Reported for machines like ours (x86-64, q35, virtio). Distributions may have mended theirs without a new number: the
/// round trip tells.
constexpr BadQemu kBadQemus[] = {
    {version(6, 1, 0), version(6, 1, 1), "guests hang at boot on hosts that are virtual themselves",
     "github.com/NixOS/nixpkgs/issues/141596"},
    {version(8, 1, 0), version(8, 2, 0), "x86-64 guests hang at boot under software emulation",
     "github.com/lima-vm/lima/issues/1758"},
    {version(9, 1, 0), version(9, 1, 1),
     "guests' kernels panic at boot (\"IO-APIC + timer doesn't work\")",
     "github.com/lima-vm/lima/pull/2640"},
    {version(10, 1, 2), version(10, 1, 3), "guests with several processors hang at boot",
     "github.com/lima-vm/lima/issues/4350"},
};

/// What Debian's packages are called elsewhere; the same name where nothing stands here.
struct Package {
  std::string_view debian, fedora, arch;
};
constexpr Package kPackages[] = {
    {"qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"},
    {"qemu-utils", "qemu-img", "qemu-img"},
    {"qemu-system-common", "virtiofsd", "virtiofsd"},
    {"ovmf", "edk2-ovmf", "edk2-ovmf"},
    {"uidmap", "shadow-utils", "shadow"},
    {"dosfstools", "dosfstools", "dosfstools"},
    {"gdisk", "gdisk", "gptfdisk"},
    {"systemd-boot-efi", "systemd-boot-unsigned", "systemd"},
    {"apt", "apt", "apt"},
};

enum class Family { debian, fedora, arch };

std::string os_release(const Facts& facts, std::string_view key) {
  for (const std::string_view line : split(text_in(facts, "etc/os-release"), '\n')) {
    if (!line.starts_with(key) || !line.substr(key.size()).starts_with('=')) continue;
    std::string_view value = trim(line.substr(key.size() + 1));
    if (value.size() >= 2 && value.front() == '"') value = value.substr(1, value.size() - 2);
    return std::string(value);
  }
  return {};
}

Family family(const Facts& facts) {
  const std::string like = " " + os_release(facts, "ID") + " " + os_release(facts, "ID_LIKE") + " ";
  if (like.contains(" fedora ") || like.contains(" rhel ")) return Family::fedora;
  return like.contains(" arch ") ? Family::arch : Family::debian;
}

/// From Debian 13 and Ubuntu 23.04 on virtiofsd is a package of its own.
bool has_virtiofsd_package(const Facts& facts) {
  const std::string version = os_release(facts, "VERSION_ID");
  const auto major = parse_u64(std::string_view(version).substr(0, version.find('.')));
  if (!major) return os_release(facts, "ID") == "debian";  // testing has none
  return *major >= (os_release(facts, "ID") == "ubuntu" ? 23U : 13U);
}

std::string named(std::string_view debian, Family family, const Facts& facts) {
  if (family == Family::debian && debian == "qemu-system-common" && has_virtiofsd_package(facts))
    return "virtiofsd";
  for (const Package& package : kPackages) {
    if (package.debian == debian && family != Family::debian)
      return std::string(family == Family::fedora ? package.fedora : package.arch);
  }
  return std::string(debian);
}

/// VHOST_USER_GET_FEATURES of the vhost-user protocol: request 1, version 1, no payload; the answer has 8 bytes of it.
constexpr std::array<std::uint32_t, 3> kGetFeatures{1, 1, 0};
constexpr std::size_t kAnswer = 12 + 8;

bool answers(int socket, std::chrono::milliseconds limit) {
  if (::write(socket, kGetFeatures.data(), sizeof(kGetFeatures)) != sizeof(kGetFeatures))
    return false;
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::size_t received = 0;  // head and payload come in two pieces
  while (received < kAnswer) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waited{.fd = socket, .events = POLLIN, .revents = 0};
    if (left.count() <= 0 || ::poll(&waited, 1, static_cast<int>(left.count())) <= 0) return false;
    std::array<char, kAnswer> answer;
    const ssize_t n = ::read(socket, answer.data(), answer.size() - received);
    if (n <= 0) return false;
    received += static_cast<std::size_t>(n);
  }
  return true;
}

/// As a share has them: id 0 is the user's first subordinate id, the user is the user.
void map_ids_of(const sys::User& user, sys::Isolation& isolation) {
  const auto uids = sys::subordinate_ids("/etc/subuid", user);
  const auto gids = sys::subordinate_ids("/etc/subgid", user);
  if (!uids || !gids) return;
  isolation.uid_map = {{.inside = 0, .outside = uids->first, .count = 1},
                       {.inside = user.uid, .outside = user.uid, .count = 1}};
  isolation.gid_map = {{.inside = 0, .outside = gids->first, .count = 1},
                       {.inside = user.gid, .outside = user.gid, .count = 1}};
}

sys::Command virtiofsd_trial(const fs::path& program, const fs::path& share,
                             const sys::User& user) {
  sys::FileView view{.paths = sys::runtime_libraries(), .empty_dirs = {"/run"}};
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  view.paths.push_back(
      {.path = share, .access = sys::Visible::Access::write, .inside = "/workspace"});
  view.proc = sys::FileView::Proc::whole;
  sys::Command command{.program = program,
                       .args = {"--fd=3", "-f", "-o", "sandbox=namespace", "-o", "cache=auto", "-o",
                                "no_xattr", "-o", "source=/workspace"},
                       .environment = {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}},
                       .isolation = sys::apart(std::move(view)),
                       .filter = sys::SpawnFilter::file_server};
  command.isolation.landlock.reset();  // it changes its root itself, which a domain may not
  map_ids_of(user, command.isolation);
  return command;
}

std::string first_line(int fd) {
  std::array<char, 4096> chunk;
  sys::set_nonblocking(fd);
  const ssize_t n = ::read(fd, chunk.data(), chunk.size());
  const std::string_view text(chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  return printable(split(trim(text), '\n').back(), kShownOutput);
}

}  // namespace

std::optional<Version> parse_version(std::string_view text, std::string_view word) {
  const std::size_t at = text.find(word);
  if (at == std::string_view::npos) return std::nullopt;
  text.remove_prefix(at + word.size());
  const std::size_t end = text.find_first_not_of("0123456789.");
  const auto parts = split(text.substr(0, end), '.');
  std::array<std::uint64_t, 3> numbers{};
  constexpr std::size_t kMostDigits = 3;
  for (std::size_t i = 0; i < std::min(parts.size(), numbers.size()); ++i) {
    const auto number = parse_u64(parts[i]);
    if (!number || parts[i].size() > kMostDigits) return std::nullopt;
    numbers[i] = *number;
  }
  if (parts.size() < 2) return std::nullopt;
  return (numbers[0] * 1000 + numbers[1]) * 1000 + numbers[2];
}

std::string to_text(Version version) {
  return fmt::format("{}.{}.{}", version / 1'000'000, version / 1000 % 1000, version % 1000);
}

const BadQemu* known_bad_qemu(Version version) {
  for (const BadQemu& bad : kBadQemus)
    if (version >= bad.from && version < bad.end) return &bad;
  return nullptr;
}

std::string install_command(const Facts& facts, std::string_view packages) {
  const Family of = family(facts);
  std::string out = of == Family::fedora ? "sudo dnf install"
                    : of == Family::arch ? "sudo pacman -S"
                                         : "sudo apt-get install";
  for (const std::string_view package : split(packages, ' '))
    out += " " + named(package, of, facts);
  return out;
}

Result<sys::Output> run_tool(const fs::path& program, std::vector<std::string> args,
                             const ToolOptions& options) {
  constexpr std::chrono::seconds kLimit{8};
  constexpr std::size_t kMostOutput = std::size_t{256} << 10;
  sys::FileView view{.paths = sys::runtime_libraries()};
  view.paths.push_back({.path = program, .access = sys::Visible::Access::execute});
  view.paths.insert(view.paths.end(), options.also_visible.begin(), options.also_visible.end());
  if (options.mapped != nullptr) view.proc = sys::FileView::Proc::whole;
  sys::Isolation isolation = sys::apart(std::move(view));
  if (options.mapped != nullptr) {
    map_ids_of(*options.mapped, isolation);
    isolation.landlock.reset();  // what it reads of /proc is in no list
  }
  sys::Command command{.program = program,
                       .args = std::move(args),
                       .environment = {{"PATH", "/usr/bin:/bin"}, {"LANG", "C.UTF-8"}},
                       .filter = options.filter};
  PINHOLE_TRY(command.isolation, sys::available_here(std::move(isolation)));
  PINHOLE_TRY(auto output, sys::run(std::move(command), {.time = kLimit, .bytes = kMostOutput}));
  if (output.status.ok()) return output;
  const std::string said = printable(split(trim(output.err), '\n').back(), kShownOutput);
  return fail("it {}{}{}", output.status.text(), said.empty() ? "" : ": ", said);
}

Result<void> try_virtiofsd(const fs::path& program, const Facts& facts) {
  PINHOLE_TRY(const auto folder, TrialFolder::make());
  const fs::path share = folder.path() / "share", socket = folder.path() / "s";
  PINHOLE_TRY_VOID(sys::make_private_dir(share));
  PINHOLE_TRY(const Fd listener, sys::listen_unix(socket, 1));
  sys::set_blocking(listener.get());
  PINHOLE_TRY(auto errors, sys::make_pipe());
  sys::Command command = virtiofsd_trial(program, share, facts.user);
  command.descriptors = {{2, errors.second.get()}, {3, listener.get()}};
  PINHOLE_TRY(auto process, sys::spawn(command));
  errors.second.reset();
  PINHOLE_TRY(const Fd client, sys::connect_unix(socket));
  constexpr std::chrono::seconds kLimit{5};
  const bool good = answers(client.get(), kLimit);
  const auto status = process.poll();
  process.stop(std::chrono::seconds(0));
  if (good) return {};
  return fail("{}: {}", status ? status->text() : "does not answer",
              first_line(errors.first.get()));
}

}  // namespace pinhole::doctor
