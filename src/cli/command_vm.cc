// SPDX-License-Identifier: Apache-2.0
// pinhole down, rm, ls, status: VMs that exist.
#include <unistd.h>

#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/denials.h"
#include "cli/guard.h"
#include "cli/terminal.h"
#include "cli/vm_access.h"
#include "config/vm_plan.h"
#include "leftovers/usage.h"
#include "supervisor/status_log.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

/// The supervisor's word where there is one, else what status.log and the plan say.
json::object described(const Vm& vm) {
  auto client = supervisor::ControlClient::connect(vm.paths.control_socket);
  auto answer = client ? client->request({{"op", "status"}}, std::chrono::seconds(5))
                       : Result<json::object>(fail(client.error()));
  if (answer) return *std::move(answer);
  if (client || answer.error().code == "no_answer") {
    return {{"name", vm.name},           {"state", static_cast<int>(supervisor::VmState::error)},
            {"state_name", "error"},     {"reason", answer.error().message},
            {"fix", answer.error().fix}, {"no_answer", true}};
  }
  auto last = supervisor::read_last_state(vm.paths.status_log);
  if (const auto lock = sys::try_lock(vm.paths.lock); lock && !*lock) {
    return {{"name", vm.name},
            {"state", static_cast<int>(last.state)},
            {"state_name", std::string(to_string(last.state))},
            {"since", last.time},
            {"reason",
             "its supervisor runs, but cannot be reached from here (starting, stopping, or another "
             "XDG_RUNTIME_DIR)"}};
  }
  using supervisor::VmState;
  if (last.state != VmState::stopped && last.state != VmState::error) {
    // Nobody is there to have written the end: it was killed, or the host went down.
    last.reason = fmt::format("ended without a word while it was {}", to_string(last.state));
    last.state = VmState::stopped;
  }
  json::object out{{"name", vm.name},
                   {"state", static_cast<int>(last.state)},
                   {"state_name", std::string(to_string(last.state))},
                   {"since", last.time},
                   {"reason", last.reason},
                   {"stage", last.failure.stage},
                   {"code", last.failure.code},
                   {"fix", last.failure.fix}};
  if (const auto text = sys::read_file(vm.paths.plan, 1 << 20)) {
    if (const auto plan = config::parse_vm_plan(*text)) {
      out["image"] = plan->image;
      out["accelerator"] = std::string(config::to_string(plan->accelerator));
      const config::Share* workspace = plan->workspace();
      out["workspace"] = workspace == nullptr ? "" : workspace->host.string();
    }
  }
  return out;
}

json::object describe(const Vm& vm) {
  json::object out = described(vm);
  out["disk_usage"] = leftovers::usage_of(vm.paths.dir).bytes;
  return out;
}

std::string shown_size(const json::object& vm) {
  const json::value* bytes = vm.if_contains("disk_usage");
  return bytes != nullptr && bytes->is_uint64() ? format_size(bytes->get_uint64()) : "";
}

/// A member of whatever type, as text for people.
std::string shown(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr) return {};
  return printable(value->is_string() ? std::string(value->get_string()) : json::serialize(*value),
                   200);
}

/// A VM whose supervisor does not answer is a failure of the command too: nothing is known of it.
int exit_status(const json::object& vm) { return vm.contains("no_answer") ? 1 : 0; }

Result<int> list(bool as_json) {
  PINHOLE_TRY(const auto vms, all_vms());
  json::array all;
  int status = 0;
  for (const Vm& vm : vms) {
    all.emplace_back(describe(vm));
    status |= exit_status(all.back().get_object());
  }
  if (as_json) return print_json(json::serialize(all)), status;
  if (vms.empty()) return print_line("no VMs; pinhole up NAME makes one"), 0;
  print_line(fmt::format("{:<20} {:<10} {:<12} {:<10} {}", "NAME", "STATE", "IMAGE", "TAKES",
                         "WORKSPACE"));
  for (const json::value& item : all) {
    const json::object& vm = item.get_object();
    print_line(fmt::format("{:<20} {:<10} {:<12} {:<10} {}", shown(vm, "name"),
                           shown(vm, "state_name"), shown(vm, "image"), shown_size(vm),
                           shown(vm, "workspace")));
    const bool failed = shown(vm, "state_name") == "error";
    if (failed || exit_status(vm) != 0) {
      print_line("  " + shown(vm, "reason"));
      if (!shown(vm, "fix").empty()) print_line("  fix: " + shown(vm, "fix"));
    }
  }
  return status;
}

/// What went wrong since the start, and whether it is over.
void show_faults(const json::object& status) {
  const auto each = [&](std::string_view key, const auto& show) {
    const json::value* all = status.if_contains(key);
    if (all == nullptr || !all->is_object()) return;
    for (const auto& [name, value] : all->get_object()) show(printable(name), value);
  };
  each("not_responding", [](const std::string& name, const json::value& since) {
    if (since.is_string())
      print_line(
          fmt::format("  {:<20} not responding since {}", name, printable(since.get_string())));
  });
  each("noticed", [](const std::string& what, const json::value& told) {
    if (!told.is_object()) return;
    const std::string count = shown(told.get_object(), "count");
    const bool hearsay = shown(told.get_object(), "from") == "console";
    print_line(fmt::format("  {:<20} {}{}{}", what, hearsay ? "the console says: " : "",
                           shown(told.get_object(), "line"),
                           count == "1" ? "" : " (" + count + " times)"));
  });
  if (const json::value* notes = status.if_contains("notes");
      notes != nullptr && notes->is_array()) {
    for (const json::value& note : notes->get_array()) {
      if (note.is_string())
        print_line(fmt::format("  {:<20} {}", "note", printable(note.get_string(), 1200)));
    }
  }
  each("restarts", [](const std::string& name, const json::value& told) {
    if (!told.is_object()) return;
    print_line(fmt::format("  {:<20} restarts: {}; the last time it {}", name,
                           shown(told.get_object(), "count"),
                           shown(told.get_object(), "last_reason")));
  });
}

Result<int> show_status(const std::string& name, bool as_json) {
  PINHOLE_TRY(const std::string chosen, name_or_only(name));
  PINHOLE_TRY(const Vm vm, find_vm(chosen));
  const json::object status = describe(vm);
  if (as_json) return print_json(json::serialize(status)), exit_status(status);
  const json::value* state = status.if_contains("state");
  print_line(fmt::format("{}: {} ({})", vm.name, shown(status, "state_name"),
                         state != nullptr ? json::serialize(*state) : "?"));
  for (const char* key : {"stage", "reason", "code", "fix", "host", "since", "uptime_s", "image",
                          "accelerator", "accelerator_reason", "workspace", "confinement", "policy",
                          "audit_head", "boot_id", "instance_id"}) {
    if (const std::string value = shown(status, key); !value.empty())
      print_line(fmt::format("  {:<20} {}", key, value));
  }
  show_faults(status);
  if (const json::value* missing = status.if_contains("confinement_missing");
      missing != nullptr && missing->is_array()) {
    for (const json::value& what : missing->get_array()) {
      if (what.is_string()) print_line("    lacks: " + printable(what.get_string(), 300));
    }
  }
  if (const json::value* stages = status.if_contains("stages");
      stages != nullptr && stages->is_object()) {
    for (const auto& [stage, value] : stages->get_object()) {
      if (value.is_object()) {
        print_line(fmt::format("  stage {:<14} {}  {}", printable(stage),
                               shown(value.get_object(), "ok") == "true" ? "ok" : "FAILED",
                               shown(value.get_object(), "detail")));
      }
    }
  }
  print_line(fmt::format("  {:<20} {} ({})", "files", vm.paths.dir.string(), shown_size(status)));
  return exit_status(status);
}

Result<int> down(const std::string& name, bool force, bool as_json) {
  PINHOLE_TRY(const std::string chosen, name_or_only(name));
  PINHOLE_TRY(const Vm vm, find_vm(chosen));
  PINHOLE_TRY(const bool stopped, stop_vm(vm, force));
  // The VM is down whatever its log says; `audit verify` tells of a log that cannot be read.
  std::vector<audit::DeniedGroup> groups;
  if (stopped) {
    groups = without_self_tests(audit::denials_of_last_boot(vm.paths.audit_log).value_or(groups));
  }
  std::vector<preflight::GuardOutcome> guard;
  if (const auto lock = sys::try_lock(vm.paths.lock); lock && *lock) guard = tell_guard(vm);
  if (as_json) {
    print_json(json::serialize(json::object{{"name", vm.name},
                                            {"stopped", stopped},
                                            {"denied", denials_json(groups)},
                                            {"guard", guard_json(guard)}}));
    return 0;
  }
  print_line(stopped ? fmt::format("{}: stopped", vm.name)
                     : fmt::format("{}: was not running", vm.name));
  for (const std::string& line : denial_lines(groups)) print_line(line);
  return 0;
}

Result<int> remove(const std::vector<std::string>& names, bool force) {
  for (const std::string& name : names) {
    PINHOLE_TRY(const Vm vm, find_vm(name));
    if (force) PINHOLE_TRY_VOID(stop_vm(vm, true));
    PINHOLE_TRY(const bool removed, remove_vm(vm));
    if (!removed) {
      return fail(
          Error{.message = fmt::format("VM \"{}\" is running", name),
                .fix = fmt::format("pinhole down {0}, or at once: pinhole rm --force {0}", name)});
    }
    print_line(fmt::format("{}: removed", name));
  }
  return 0;
}

}  // namespace

void add_ls(Commands& commands) {
  CLI::App& command = commands.add("ls", "List the VMs", "  pinhole ls --json");
  auto as_json = std::make_shared<bool>(false);
  command.add_flag("--json", *as_json, "print JSON");
  commands.on(command, [as_json] { return list(*as_json); });
}

void add_status(Commands& commands) {
  CLI::App& command = commands.add("status", "Show what a VM does, and why",
                                   "  pinhole status web\n  pinhole status web --json");
  auto name = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  command.add_option("NAME", *name, "the VM (may be left out when there is only one)");
  command.add_flag("--json", *as_json, "print JSON");
  commands.on(command, [=] { return show_status(*name, *as_json); });
}

void add_down(Commands& commands) {
  CLI::App& command = commands.add("down", "Stop a VM; its disk stays", "  pinhole down web");
  auto name = std::make_shared<std::string>();
  auto force = std::make_shared<bool>(false);
  command.add_option("NAME", *name, "the VM (may be left out when there is only one)");
  command.add_flag("--force", *force, "do not wait for the guest to power off");
  auto as_json = std::make_shared<bool>(false);
  command.add_flag("--json", *as_json, "print JSON, with what the door refused since the start");
  commands.on(command, [=] { return down(*name, *force, *as_json); });
}

void add_rm(Commands& commands) {
  CLI::App& command = commands.add("rm", "Remove VMs with their disks and logs",
                                   "  pinhole rm web\n  pinhole rm --force web test");
  auto names = std::make_shared<std::vector<std::string>>();
  auto force = std::make_shared<bool>(false);
  command.add_option("NAME", *names, "the VMs")->required();
  command.add_flag("--force", *force, "stop them first");
  commands.on(command, [=] { return remove(*names, *force); });
}

}  // namespace pinhole::cli
