// SPDX-License-Identifier: Apache-2.0
#include "agent/machine.h"

#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "agent/boot.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;

constexpr std::uint64_t kLargestFile = 1 << 20;  // of /etc

/// In place of the old one at once, with its owner and mode; without waiting for the disk, which a
/// machine that lives for one command would do for nothing (ext4 writes the content before the name).
Result<void> replace_file(const fs::path& path, std::string_view content, mode_t mode) {
  const fs::path temporary = path.string() + ".pinhole";
  ::unlink(temporary.c_str());
  const Fd file(
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return fail("cannot write {}: {}", path.string(), errno_text(errno));
  PINHOLE_TRY_VOID(sys::write_all(file.get(), content));
  struct stat old{};
  if (::lstat(path.c_str(), &old) == 0 && S_ISREG(old.st_mode)) {
    mode = old.st_mode & 07777;
    [[maybe_unused]] const int given = ::fchown(file.get(), old.st_uid, old.st_gid);
  }
  if (::fchmod(file.get(), mode) != 0 || ::rename(temporary.c_str(), path.c_str()) != 0)
    return fail("cannot write {}: {}", path.string(), errno_text(errno));
  return {};
}

Result<std::string> read_lines(const fs::path& path) {
  PINHOLE_TRY(std::string text, sys::read_file(path, kLargestFile));
  if (!text.empty() && !text.ends_with('\n')) text += '\n';
  return text;
}

Result<void> append_line(const fs::path& path, std::string_view line, mode_t mode) {
  PINHOLE_TRY(std::string text, read_lines(path));
  text += line;
  return replace_file(path, text + "\n", mode);
}

/// Whether a line of passwd(5) or group(5) has this text as its field number `index`.
bool has_field(std::string_view table, std::size_t index, std::string_view value) {
  for (const std::string_view line : split(table, '\n')) {
    const auto fields = split(line, ':');
    if (fields.size() > index && fields[index] == value) return true;
  }
  return false;
}

void copy_skeleton(const fs::path& skeleton, const fs::path& home, const wire::User& user) {
  std::error_code error;
  fs::copy(skeleton, home, fs::copy_options::recursive | fs::copy_options::copy_symlinks, error);
  const auto give = [&](const fs::path& path) {
    [[maybe_unused]] const int given = ::lchown(path.c_str(), user.uid, user.gid);
  };
  for (const auto& entry : fs::recursive_directory_iterator(home, error)) give(entry.path());
  give(home);
}

/// An image may have made it already; then it keeps what it is.
Result<void> make_home(const fs::path& home, const fs::path& root, const wire::User& user) {
  std::error_code error;
  fs::create_directories(home.parent_path(), error);
  if (::mkdir(home.c_str(), 0755) == 0) {
    copy_skeleton(root / "etc/skel", home, user);
  } else if (errno != EEXIST) {
    return fail("cannot make {}: {}", home.string(), errno_text(errno));
  }
  return {};
}

Result<void> allow_sudo(std::uint32_t uid, const fs::path& root) {
  const fs::path folder = root / "etc/sudoers.d";
  std::error_code error;
  if (!fs::is_directory(folder, error)) return {};  // an image without sudo
  // sudoers(5): a uid, whatever the name is. Other tools than /workspace's are the guest's own.
  return replace_file(folder / "pinhole", fmt::format("#{} ALL=(ALL:ALL) NOPASSWD: ALL\n", uid),
                      0440);
}

std::uint64_t now_ms() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1000 +
         static_cast<std::uint64_t>(now.tv_nsec) / 1'000'000;
}

std::optional<std::uint8_t> hex_digit(char c) {
  if (c >= '0' && c <= '9') return static_cast<std::uint8_t>(c - '0');
  if (c >= 'a' && c <= 'f') return static_cast<std::uint8_t>(c - 'a' + 10);
  return std::nullopt;
}

void set_clock(std::uint64_t time_ms) {
  const timespec time{.tv_sec = static_cast<time_t>(time_ms / 1000),
                      .tv_nsec = static_cast<long>(time_ms % 1000 * 1'000'000)};
  if (::clock_settime(CLOCK_REALTIME, &time) != 0)
    log(LogLevel::warning, "cannot set the clock: {}", errno_text(errno));
  else
    log(LogLevel::info, "the clock was off; it now follows the host's");
}

void add_entropy(std::string_view digits) {
  constexpr std::size_t kBytes = wire::kEntropyDigits / 2;
  // As rand_pool_info, whose last member is an array of no size.
  struct {
    int entropy_count;
    int buf_size;
    std::array<std::uint8_t, kBytes> bytes;
  } pool{};
  std::size_t filled = 0;
  for (; filled < kBytes && 2 * filled + 1 < digits.size(); ++filled) {
    const auto high = hex_digit(digits[2 * filled]), low = hex_digit(digits[2 * filled + 1]);
    if (!high || !low) return;
    pool.bytes[filled] = static_cast<std::uint8_t>(*high << 4 | *low);
  }
  if (filled == 0) return;
  pool.buf_size = static_cast<int>(filled);
  pool.entropy_count = static_cast<int>(filled * 8);
  const Fd device(::open("/dev/random", O_WRONLY | O_CLOEXEC));
  // random(4): mixed in and counted, and so the generator is seeded anew.
  if (!device || ::ioctl(device.get(), RNDADDENTROPY, &pool) != 0)
    log(LogLevel::warning, "cannot add randomness: {}", errno_text(errno));
}

}  // namespace

Result<void> name_machine(const std::string& hostname, const fs::path& root) {
  const auto hosts = sys::read_file(root / "etc/hosts", kLargestFile);
  // Lines of its own, as Debian has them, in place of those of an earlier name. Both families: what
  // is not found here is asked of the name server, which knows every name.
  std::string text;
  for (const std::string_view line :
       split(hosts ? *hosts : "127.0.0.1 localhost\n::1 localhost", '\n')) {
    const bool earlier =
        line.starts_with("127.0.1.1 ") || (line.starts_with("::1 ") && !line.contains("localhost"));
    if (!line.empty() && !earlier) text += std::string(line) + "\n";
  }
  text += fmt::format("127.0.1.1 {0}\n::1 {0}\n", hostname);
  PINHOLE_TRY_VOID(replace_file(root / "etc/hostname", hostname + "\n", 0644));
  if (hosts && *hosts == text) return {};
  return replace_file(root / "etc/hosts", text, 0644);
}

Result<void> add_user(const wire::User& user, const fs::path& root) {
  if (user.uid == 0) return {};
  PINHOLE_TRY_VOID(allow_sudo(user.uid, root));
  const fs::path passwd = root / "etc/passwd", group = root / "etc/group";
  PINHOLE_TRY(const std::string users, read_lines(passwd));
  PINHOLE_TRY(const std::string groups, read_lines(group));
  const std::string uid = std::to_string(user.uid), gid = std::to_string(user.gid);
  if (has_field(users, 2, uid)) return {};
  const bool taken = has_field(users, 0, user.name) || has_field(groups, 0, user.name);
  const std::string name = taken ? "user-" + uid : user.name;
  if (!has_field(groups, 2, gid))
    PINHOLE_TRY_VOID(append_line(group, fmt::format("{}:x:{}:", name, gid), 0644));
  // No password fits "!"; the days since 1970 of its last change mean "long ago".
  PINHOLE_TRY_VOID(
      append_line(root / "etc/shadow", fmt::format("{}:!:19000:0:99999:7:::", name), 0640));
  const std::string home = "/home/" + name;
  PINHOLE_TRY_VOID(make_home(root / home.substr(1), root, user));
  // Last: whoever finds the user finds the rest of him too.
  return append_line(passwd, fmt::format("{}:x:{}:{}::{}:/bin/bash", name, uid, gid, home), 0644);
}

Result<void> set_up_machine(const wire::Machine& machine, const fs::path& root) {
  if (::sethostname(machine.hostname.data(), machine.hostname.size()) != 0)
    return fail("cannot call this machine \"{}\": {}", machine.hostname, errno_text(errno));
  PINHOLE_TRY_VOID(name_machine(machine.hostname, root));
  if (machine.user) PINHOLE_TRY_VOID(add_user(*machine.user, root));
  return {};
}

std::optional<std::uint64_t> clock_step(std::uint64_t ours_ms, std::uint64_t hosts_ms,
                                        std::optional<milliseconds> round_trip) {
  constexpr std::uint64_t kTolerated = 1000;
  constexpr milliseconds kFresh{500};  // less than that: what is left of the difference is ours
  if (hosts_ms == 0) return std::nullopt;
  if (hosts_ms > ours_ms)
    return hosts_ms - ours_ms > kTolerated ? std::optional(hosts_ms) : std::nullopt;
  const bool is_fresh = round_trip && *round_trip <= kFresh;
  return is_fresh && ours_ms - hosts_ms > kTolerated ? std::optional(hosts_ms) : std::nullopt;
}

void follow_host(std::uint64_t time_ms, std::string_view entropy,
                 std::optional<milliseconds> asked) {
  // The clock before the age, so that a delay between the two makes the message old, not the clock
  // wrong; and both before the randomness, which takes its time.
  const std::uint64_t ours = now_ms();
  const auto round_trip = asked ? std::optional(uptime() - *asked) : std::nullopt;
  if (const auto step = clock_step(ours, time_ms, round_trip)) set_clock(*step);
  if (!entropy.empty()) add_entropy(entropy);
}

}  // namespace pinhole::agent
