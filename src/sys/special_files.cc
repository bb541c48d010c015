// SPDX-License-Identifier: Apache-2.0
#include "sys/special_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <initializer_list>

#include <seccomp.h>

namespace pinhole::sys {
namespace {

/// Denies `syscall` when argument `index` has all bits of `value` under `mask`.
int deny_when(scmp_filter_ctx filter, int syscall, unsigned index, scmp_datum_t mask,
              scmp_datum_t value) {
  const scmp_arg_cmp match = {
      .arg = index, .op = SCMP_CMP_MASKED_EQ, .datum_a = mask, .datum_b = value};
  return seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(EPERM), syscall, 1, &match);
}

int add_rules(scmp_filter_ctx filter) {
  struct ModeArgument {
    int syscall;
    unsigned index;
  };
  constexpr int kFchmodat2 = 452;  // newer than libseccomp 2.5's table
  const ModeArgument with_mode[] = {
      {SCMP_SYS(chmod), 1},   {SCMP_SYS(fchmod), 1}, {SCMP_SYS(fchmodat), 2}, {kFchmodat2, 2},
      {SCMP_SYS(open), 2},    {SCMP_SYS(openat), 3}, {SCMP_SYS(creat), 1},    {SCMP_SYS(mkdir), 1},
      {SCMP_SYS(mkdirat), 2}, {SCMP_SYS(mknod), 1},  {SCMP_SYS(mknodat), 2},
  };
  for (const auto& [syscall, index] : with_mode) {
    for (const scmp_datum_t bit : {scmp_datum_t{S_ISUID}, scmp_datum_t{S_ISGID}}) {
      if (const int error = deny_when(filter, syscall, index, bit, bit); error != 0) return error;
    }
  }
  for (const scmp_datum_t type : {scmp_datum_t{S_IFCHR}, scmp_datum_t{S_IFBLK}}) {
    if (const int error = deny_when(filter, SCMP_SYS(mknod), 1, S_IFMT, type); error != 0)
      return error;
    if (const int error = deny_when(filter, SCMP_SYS(mknodat), 2, S_IFMT, type); error != 0)
      return error;
  }
  // These carry the mode in memory, where a filter cannot look; callers fall back to the ones
  // above.
  for (const int syscall : {SCMP_SYS(openat2), SCMP_SYS(io_uring_setup)}) {
    if (const int error =
            seccomp_rule_add_array(filter, SCMP_ACT_ERRNO(ENOSYS), syscall, 0, nullptr);
        error != 0)
      return error;
  }
  return 0;
}

}  // namespace

int refuse_special_files() {
  const scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
  if (filter == nullptr) return ENOMEM;
  int error = add_rules(filter);
  if (error == 0) error = seccomp_load(filter);
  seccomp_release(filter);
  return -error;
}

}  // namespace pinhole::sys
