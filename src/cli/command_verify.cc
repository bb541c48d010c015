// SPDX-License-Identifier: Apache-2.0
// pinhole verify.
#include <boost/json.hpp>

#include "cli/app.h"
#include "cli/terminal.h"
#include "cli/verify.h"

namespace pinhole::cli {
namespace {

Result<int> verify(const std::string& name, bool as_json) {
  PINHOLE_TRY(const std::string chosen, name_or_only(name));
  PINHOLE_TRY(const Vm vm, find_vm(chosen));
  PINHOLE_TRY(const Verdict verdict, verify_vm(vm));
  if (as_json) {
    print_json(boost::json::serialize(to_json(verdict)));
  } else {
    print_checks(verdict.checks);
    print_line(verdict.ok() ? fmt::format("{}: verified", vm.name)
                            : fmt::format("{}: NOT verified", vm.name));
  }
  return verdict.ok() ? 0 : 1;
}

}  // namespace

void add_verify(Commands& commands) {
  CLI::App& command = commands.add(
      "verify", "Prove that a running VM is shut but for its door; each line names its evidence",
      "  pinhole verify web\n  pinhole verify web --json");
  auto name = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  command.add_option("NAME", *name, "the VM (may be left out when there is only one)");
  command.add_flag("--json", *as_json, "print JSON");
  commands.on(command, [=] { return verify(*name, *as_json); });
}

}  // namespace pinhole::cli
