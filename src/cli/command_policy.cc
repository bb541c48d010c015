// SPDX-License-Identifier: Apache-2.0
// pinhole policy, and pinhole policy check.
#include "cli/command_policy.h"

#include <fmt/ranges.h>

#include "base/printable.h"
#include "cli/policy_words.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "policy/layer.h"
#include "preflight/guest_folders.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

/// What one file says, counted.
struct Summary {
  const preflight::PolicyFile& file;
  policy::LayerContent content;
};

/// "pinhole.yaml" is a project's; any other file is read as the user's own, who may say everything.
Result<preflight::PolicyFile> read_policy(const std::string& name) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const fs::path path = name;
  const auto folders =
      preflight::GuestFolders::of(paths, {fs::absolute(path).lexically_normal().parent_path()});
  PINHOLE_TRY(std::string text, folders.read(path, config::kLargestConfigFile));
  const bool is_project = path.filename() == "pinhole.yaml";
  if (is_project) PINHOLE_TRY_VOID(config::parse_vm_request(text, name));
  return preflight::PolicyFile{
      .layer = is_project ? "project" : "user", .name = name, .text = std::move(text)};
}

/// All mistakes are shown, one of each file; the last one ends the command.
Result<preflight::Policies> read_all(const std::vector<std::string>& names) {
  preflight::Policies policies;
  std::vector<policy::Layer> layers;
  std::optional<Error> last;
  const auto keep = [&](Error error) {
    if (last) print_error(*last);
    last = std::move(error);
  };
  for (const std::string& name : names) {
    auto file = read_policy(name);
    if (!file) {
      keep(std::move(file).error());
      continue;
    }
    auto layer = preflight::parse_layer(*file);
    if (layer) {
      if (auto alone = policy::Policy::compile({*layer}); !alone)
        layer = std::unexpected(alone.error());
    }
    if (!layer) {
      keep(std::move(layer).error());
      continue;
    }
    layers.push_back(*std::move(layer));
    policies.files.push_back(*std::move(file));
  }
  if (last) return fail(*std::move(last));
  PINHOLE_TRY(policies.policy, policy::Policy::compile(std::move(layers)));
  return policies;
}

std::string text_of(const Summary& summary) {
  const policy::LayerContent& content = summary.content;
  std::vector<std::string> parts;
  if (!content.presets.empty())
    parts.push_back(fmt::format("presets {}", fmt::join(content.presets, ", ")));
  parts.push_back(fmt::format("{} allow, {} deny", content.allow.size(), content.deny.size()));
  if (content.ceiling) parts.push_back(fmt::format("a ceiling of {}", content.ceiling->size()));
  if (!content.secrets.empty()) parts.push_back(fmt::format("{} secrets", content.secrets.size()));
  return fmt::format("{} ({}): {}", printable(summary.file.name), summary.file.layer,
                     fmt::join(parts, ", "));
}

json::object to_json(const Summary& summary) {
  const policy::LayerContent& content = summary.content;
  json::object object{{"file", summary.file.name},
                      {"layer", summary.file.layer},
                      {"presets", json::value_from(content.presets)},
                      {"allow", content.allow.size()},
                      {"deny", content.deny.size()},
                      {"secrets", content.secrets.size()}};
  if (content.ceiling) object["ceiling"] = content.ceiling->size();
  return object;
}

Result<int> check(const std::vector<std::string>& files, const PolicyWords& words) {
  auto policies = files.empty() ? look_at_policies(words) : read_all(files);
  if (!policies) return fail(std::move(policies).error());
  std::vector<Summary> summaries;
  for (const preflight::PolicyFile& file : policies->files) {
    PINHOLE_TRY(const policy::Layer layer, preflight::parse_layer(file));
    PINHOLE_TRY(policy::LayerContent content, policy::read_layer(layer));
    summaries.push_back({.file = file, .content = std::move(content)});
  }
  const policy::Policy& policy = policies->policy;
  if (words.json) {
    json::array list;
    for (const Summary& summary : summaries) list.push_back(to_json(summary));
    print_json(json::serialize(json::object{{"ok", true},
                                            {"files", std::move(list)},
                                            {"warnings", json::value_from(policy.warnings())},
                                            {"policy", policy.hash()}}));
    return 0;
  }
  for (const Summary& summary : summaries) print_line(text_of(summary));
  for (const std::string& warning : policy.warnings()) print_line("note: " + printable(warning));
  if (summaries.empty()) print_line("no policy file: everything is denied");
  print_line(dim(policy.hash()));
  return 0;
}

}  // namespace

void add_policy_check(Commands& commands, CLI::App& parent) {
  CLI::App& command =
      commands.add("check", "Read policy files and say what is wrong with them",
                   "  pinhole policy check                   # what `pinhole up` would use here\n"
                   "  pinhole policy check pinhole.yaml team.yaml",
                   &parent);
  auto files = std::make_shared<std::vector<std::string>>();
  auto words = std::make_shared<PolicyWords>();
  auto* list = command.add_option("FILE", *files, "these files instead, together");
  add_policy_words(command, *words);
  for (const char* option : {"--policy", "--config", "--no-config"})
    command.get_option(option)->excludes(list);
  commands.on(command, [=] { return check(*files, *words); });
}

void add_policy(Commands& commands) {
  CLI::App& command =
      commands.add("policy", "Check, explain, test and change what the door decides", "");
  command.require_subcommand(1);
  add_policy_check(commands, command);
  add_policy_explain(commands, command);
  add_policy_test(commands, command);
  add_policy_reload(commands, command);
}

}  // namespace pinhole::cli
