// SPDX-License-Identifier: Apache-2.0
#include "supervisor/launch.h"
#include "sys/files.h"

namespace pinhole::supervisor {

Result<bool> refresh_resolv_conf(const std::filesystem::path& host_file,
                                 const config::VmPaths& paths) {
  constexpr std::uint64_t kLargest = 64 << 10;
  const auto copy = paths.names / kResolvConf;
  // None on the host is an empty one: c-ares then asks the name server on this machine, as libc does.
  const std::string now = sys::read_file(host_file, kLargest).value_or("");
  const auto before = sys::read_file(copy, kLargest);
  if (before && *before == now) return false;
  PINHOLE_TRY_VOID(sys::write_file_atomic(copy, now));
  return true;
}

}  // namespace pinhole::supervisor
