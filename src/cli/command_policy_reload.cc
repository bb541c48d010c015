// SPDX-License-Identifier: Apache-2.0
// pinhole policy reload.
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "base/printable.h"
#include "cli/command_policy.h"
#include "cli/policy_words.h"
#include "cli/secrets.h"
#include "cli/terminal.h"
#include "cli/vm_access.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

struct ReloadWords {
  PolicyWords files;
  std::string name, trust;
  bool yes = false;
};

/// The policies as `up` would take them; a project's file has to be trusted.
Result<preflight::Policies> wanted_policies(const ReloadWords& words) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  preflight::PolicySources sources{.project =
                                       project_file(words.files.config, words.files.no_config)};
  for (const std::string& file : words.files.policies) sources.session.emplace_back(file);
  if (!words.trust.empty()) sources.trusted_hash = words.trust;
  return preflight::gather_policies(paths, sources);
}

std::vector<std::string> missing_in(const std::vector<std::string>& lines,
                                    const std::vector<std::string>& others) {
  const std::multiset<std::string> there(others.begin(), others.end());
  std::vector<std::string> missing;
  for (const std::string& line : lines) {
    if (!there.contains(line)) missing.push_back(line);
  }
  return missing;
}

void print_difference(const policy::Policy& now, const policy::Policy& wanted) {
  const auto before = now.statements();
  const auto after = wanted.statements();
  const auto gone = missing_in(before, after);
  const auto added = missing_in(after, before);
  for (const std::string& line : gone) print_line(red("- " + printable(line)));
  for (const std::string& line : added) print_line(green("+ " + printable(line)));
  if (gone.empty() && added.empty()) print_line("the rules say the same, in other words");
}

json::object request_of(const preflight::Policies& policies) {
  json::array layers;
  for (const preflight::PolicyFile& file : policies.files) {
    layers.push_back(json::object{{"layer", file.layer}, {"name", file.name}, {"text", file.text}});
  }
  json::array secrets;
  for (const policy::SecretSpec& secret : policies.policy.secrets()) {
    secrets.push_back(json::object{{"name", secret.name}, {"from", secret.from}});
  }
  return {{"op", "reload"},
          {"foreign_keys", json::array{"vm"}},
          {"layers", std::move(layers)},
          {"secrets", std::move(secrets)}};
}

Result<void> give_values(const Vm& vm, const policy::Policy& policy) {
  std::vector<source::SecretSource> sources;
  for (const policy::SecretSpec& secret : policy.secrets()) {
    sources.push_back({.name = secret.name, .from = secret.from});
  }
  if (sources.empty()) return {};
  PINHOLE_TRY(const auto problems, give_secrets(vm, sources));
  for (const std::string& problem : problems) print_note("note: " + printable(problem));
  return {};
}

Result<int> reload(const ReloadWords& words) {
  PINHOLE_TRY(const std::string name, name_or_only(words.name));
  PINHOLE_TRY(const Vm vm, find_vm(name));
  PINHOLE_TRY_VOID(connect(vm));  // before anything is asked: it runs
  PINHOLE_TRY(const preflight::Policies wanted, wanted_policies(words));
  PINHOLE_TRY(const policy::Policy now, policy_of(vm));
  if (now.hash() == wanted.hash)
    return print_line(fmt::format("{}: nothing has changed", vm.name)), 0;
  print_difference(now, wanted.policy);
  for (const std::string& warning : wanted.warnings) print_note("note: " + printable(warning));
  if (!words.yes) {
    if (::isatty(STDIN_FILENO) != 1) {
      return fail(Error{.message = "nobody is there to be asked",
                        .fix = fmt::format("pinhole policy reload --yes {}", vm.name),
                        .exit_status = kUsageStatus});
    }
    if (!ask_yes("Put this in force?")) return fail("nothing was changed");
  }
  PINHOLE_TRY(auto supervisor, connect(vm));
  PINHOLE_TRY(const json::object answer, supervisor.request(request_of(wanted)));
  PINHOLE_TRY_VOID(give_values(vm, wanted.policy));
  print_line(fmt::format("{}: policy {}", vm.name, printable(text_of(answer, "policy"))));
  return 0;
}

}  // namespace

void add_policy_reload(Commands& commands, CLI::App& parent) {
  CLI::App& command = commands.add(
      "reload", "Give a running VM the policy of now, after showing what changes",
      "  pinhole policy reload web\n  pinhole policy reload --yes web --policy policy.yaml",
      &parent);
  auto words = std::make_shared<ReloadWords>();
  command.add_option("NAME", words->name, "the VM (may be left out when there is only one)");
  command.add_option("--policy", words->files.policies,
                     "a policy file for this session; may be given again");
  command.add_option("--config", words->files.config, "instead of ./pinhole.yaml");
  command.add_flag("--no-config", words->files.no_config, "do not read ./pinhole.yaml");
  command.add_option("--trust", words->trust,
                     "sha256:… of a pinhole.yaml that you have read (for CI)");
  command.add_flag("-y,--yes", words->yes, "do not ask");
  commands.on(command, [=] { return reload(*words); });
}

}  // namespace pinhole::cli
