// SPDX-License-Identifier: Apache-2.0
#include "sys/cgroup.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/strings.h"
#include "sys/files.h"

namespace pinhole::sys {
namespace {

constexpr std::string_view kPrefix = "exec-";
constexpr int kFolder = O_PATH | O_DIRECTORY | O_CLOEXEC;

/// cgroup2 itself, or beside the old hierarchies as systemd mounts it then.
Fd open_root() {
  for (const char* path : {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}) {
    Fd root(::open(path, kFolder));
    struct statfs info{};
    if (root && ::fstatfs(root.get(), &info) == 0 && info.f_type == CGROUP2_SUPER_MAGIC)
      return root;
  }
  return {};
}

/// cgroups(7): the line "0::/path"; relative here.
std::string own_cgroup() {
  constexpr std::uint64_t kMost = 64 * 1024;
  const auto text = read_file("/proc/self/cgroup", kMost);
  if (!text) return {};
  for (std::string_view line : split(*text, '\n')) {
    if (!line.starts_with("0::/")) continue;
    line.remove_prefix(4);
    return line.empty() ? "." : std::string(line);
  }
  return {};
}

}  // namespace

std::shared_ptr<Cgroups> Cgroups::find() {
  const Fd root = open_root();
  const std::string own = own_cgroup();
  if (!root || own.empty()) return nullptr;
  Fd parent(::openat(root.get(), own.c_str(), kFolder));
  if (!parent) return nullptr;
  const auto all = std::shared_ptr<Cgroups>(new Cgroups(std::move(parent)));
  all->sweep();
  // Whether one can be made, and killed, shows by one.
  const auto trial = make(all);
  if (!trial || ::faccessat(trial->get(), "cgroup.kill", W_OK, 0) != 0) return nullptr;
  return all;
}

void Cgroups::sweep() {
  constexpr std::size_t kMostLeft = 10'000;
  std::error_code error;
  std::size_t seen = 0;
  const auto path = std::filesystem::path("/proc/self/fd") / std::to_string(parent_.get());
  for (std::filesystem::directory_iterator entry(path / ".", error), end; !error && entry != end;
       entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    if (++seen > kMostLeft) break;
    const auto number = parse_u64(std::string_view(name).substr(kPrefix.size()));
    if (number) next_ = std::max(next_, *number + 1);
    remove(name);
  }
}

std::optional<Cgroups::One> Cgroups::make(const std::shared_ptr<Cgroups>& all) {
  return all ? all->make_one(all) : std::nullopt;
}

std::optional<Cgroups::One> Cgroups::make_one(std::shared_ptr<Cgroups> self) {
  constexpr std::size_t kSweep = 8;  // tried again for each new one, in turn
  for (std::size_t left = std::min(occupied_.size(), kSweep); left > 0; --left) {
    std::string name = std::move(occupied_.front());
    occupied_.pop_front();
    remove(std::move(name));
  }
  constexpr int kTries = 16;  // another process in our place may make some too
  for (int i = 0; i < kTries; ++i) {
    std::string name = fmt::format("{}{}", kPrefix, next_++);
    if (::mkdirat(parent_.get(), name.c_str(), 0755) != 0) {
      if (errno == EEXIST) continue;
      return std::nullopt;
    }
    Fd folder(::openat(parent_.get(), name.c_str(), kFolder));
    if (!folder) return std::nullopt;
    return One(std::move(self), std::move(name), std::move(folder));
  }
  return std::nullopt;
}

void Cgroups::remove(std::string name) {
  constexpr std::size_t kMostOccupied = 4096;  // beyond it they just stay
  if (::unlinkat(parent_.get(), name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  if (occupied_.size() < kMostOccupied) occupied_.push_back(std::move(name));
}

void Cgroups::One::kill() const {
  const Fd file(::openat(folder_.get(), "cgroup.kill", O_WRONLY | O_CLOEXEC));
  if (file) (void)write_all(file.get(), "1");
}

Cgroups::One::~One() {
  if (!all_) return;  // moved from
  folder_.reset();
  all_->remove(std::move(name_));
}

}  // namespace pinhole::sys
