// SPDX-License-Identifier: Apache-2.0
// The check that matters: that a running VM is shut, and that its one door works, from the inside
// and from the outside, because the guest may lie about itself.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <boost/json/object.hpp>

#include "base/error.h"
#include "cli/vm_access.h"

namespace pinhole::cli {

struct Check {
  std::string name;
  bool ok = false;
  std::string evidence;  // printable
  std::uint64_t ms = 0;
};

struct Verdict {
  std::string vm;
  std::string boot_id;
  std::vector<Check> checks;
  [[nodiscard]] bool ok() const;
};

/// How long the guest may take to answer them all.
inline constexpr std::chrono::minutes kLongestProbe{3};

/// Runs all checks; the result goes into the VM's audit log. An error only when the VM cannot be
/// asked at all.
Result<Verdict> verify_vm(const Vm& vm);

/// {"ok", "vm", "boot_id", "checks": [{"name", "ok", "evidence", "ms"}]}
boost::json::object to_json(const Verdict& verdict);
/// A table for people.
void print_checks(const std::vector<Check>& checks);

}  // namespace pinhole::cli
