// SPDX-License-Identifier: Apache-2.0
#include "sys/landlock.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "base/fd.h"

namespace pinhole::sys {
namespace {

// linux/landlock.h of Debian 12 ends with ABI 2; these numbers are the kernel's promise (ABI 7).
constexpr std::uint64_t kExecute = 1U << 0, kWriteFile = 1U << 1, kReadFile = 1U << 2,
                        kReadDir = 1U << 3, kRemoveDir = 1U << 4, kRemoveFile = 1U << 5,
                        kMakeDir = 1U << 7, kMakeReg = 1U << 8, kMakeSock = 1U << 9,
                        kRefer = 1U << 13, kTruncate = 1U << 14, kIoctlDevice = 1U << 15;
constexpr std::uint64_t kAllOfAbi1 = (1U << 13) - 1;
constexpr std::uint64_t kBindTcp = 1U << 0, kConnectTcp = 1U << 1;
constexpr std::uint64_t kScopeAbstractUnix = 1U << 0, kScopeSignal = 1U << 1;
/// Rights that make sense for something that is no folder.
constexpr std::uint64_t kFileRights = kExecute | kWriteFile | kReadFile | kTruncate | kIoctlDevice;

struct RulesetAttr {
  std::uint64_t handled_access_fs = 0;
  std::uint64_t handled_access_net = 0;
  std::uint64_t scoped = 0;
};
struct __attribute__((packed)) PathBeneath {
  std::uint64_t allowed_access = 0;
  std::int32_t parent_fd = -1;
};
struct NetPort {
  std::uint64_t allowed_access = 0;
  std::uint64_t port = 0;
};
constexpr int kRulePathBeneath = 1, kRuleNetPort = 2;
constexpr unsigned kVersionFlag = 1;

RulesetAttr handled(int abi, const LandlockRules& rules) {
  RulesetAttr attr{.handled_access_fs = kAllOfAbi1};
  if (abi >= 2) attr.handled_access_fs |= kRefer;
  if (abi >= 3) attr.handled_access_fs |= kTruncate;
  if (abi >= 5) attr.handled_access_fs |= kIoctlDevice;
  if (abi >= 4) attr.handled_access_net = kBindTcp | (rules.connect_tcp ? 0 : kConnectTcp);
  if (abi >= 6) attr.scoped = kScopeAbstractUnix | kScopeSignal;
  return attr;
}

std::uint64_t rights(Visible::Access access) {
  switch (access) {
    case Visible::Access::read:
      return kReadFile | kReadDir;
    case Visible::Access::execute:
      return kReadFile | kReadDir | kExecute;
    case Visible::Access::write:
      return kReadFile | kReadDir | kWriteFile | kTruncate | kRemoveFile | kRemoveDir | kMakeDir |
             kMakeReg | kMakeSock;
    case Visible::Access::build:
      return kAllOfAbi1 | kRefer | kTruncate;
    case Visible::Access::device:
      return kReadFile | kWriteFile | kIoctlDevice;
  }
  return 0;
}

bool add_path(int ruleset, const std::filesystem::path& path, std::uint64_t allowed) {
  const Fd object(::open(path.c_str(), O_PATH | O_CLOEXEC));
  if (!object) return errno == ENOENT;  // what is not there needs no rule
  struct stat info{};
  if (::fstat(object.get(), &info) != 0) return false;
  if (!S_ISDIR(info.st_mode)) allowed &= kFileRights;
  const PathBeneath rule{.allowed_access = allowed, .parent_fd = object.get()};
  return ::syscall(SYS_landlock_add_rule, ruleset, kRulePathBeneath, &rule, 0) == 0;
}

}  // namespace

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersionFlag);
  return abi > 0 ? static_cast<int>(abi) : 0;
}

const char* enter_landlock(const LandlockRules& rules) {
  const int abi = landlock_abi();
  if (abi == 0) return nullptr;
  const RulesetAttr attr = handled(abi, rules);
  // Older kernels know a shorter structure, and take a longer one whose rest is zero.
  const Fd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0)));
  if (!ruleset) return "making its Landlock rules";
  for (const Visible& visible : rules.view.paths) {
    const auto& path = visible.inside.empty() ? visible.path : visible.inside;
    if (!add_path(ruleset.get(), path, rights(visible.access) & attr.handled_access_fs))
      return "adding a path to its Landlock rules";
  }
  // Of its own PID namespace, or else not there: what it says about other processes, it says to anybody.
  (void)add_path(ruleset.get(), "/proc/self", kReadFile | kReadDir);
  const NetPort chosen_by_kernel{.allowed_access = kBindTcp, .port = 0};
  if (abi >= 4 && rules.bind_any_port &&
      ::syscall(SYS_landlock_add_rule, ruleset.get(), kRuleNetPort, &chosen_by_kernel, 0) != 0)
    return "adding a port to its Landlock rules";
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return "entering its Landlock domain";
  return nullptr;
}

Result<bool> write_only_in(std::span<const std::filesystem::path> folders) {
  const int abi = landlock_abi();
  if (abi == 0) return false;
  RulesetAttr attr{.handled_access_fs = kAllOfAbi1 & ~(kExecute | kReadFile | kReadDir)};
  if (abi >= 3) attr.handled_access_fs |= kTruncate;
  const Fd ruleset(
      static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0)));
  if (!ruleset) return fail("cannot make Landlock rules: {}", errno_text(errno));
  const std::uint64_t allowed = kWriteFile | kRemoveFile | kMakeReg | kTruncate;
  for (const auto& folder : folders) {
    if (!add_path(ruleset.get(), folder, allowed & attr.handled_access_fs))
      return fail("cannot add {} to Landlock rules: {}", folder.string(), errno_text(errno));
  }
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
      ::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0)
    return fail("cannot enter a Landlock domain: {}", errno_text(errno));
  return true;
}

}  // namespace pinhole::sys
