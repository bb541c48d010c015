// SPDX-License-Identifier: Apache-2.0
// pinhole policy test. A file of cases is a list:
//
//   - request: GET https://api.github.com/repos/a/b
//     expect: allow                 # or deny
//     rule: pinhole.yaml:7          # may be left out; "default" where no rule speaks
#include <algorithm>

#include "base/printable.h"
#include "cli/command_policy.h"
#include "cli/policy_words.h"
#include "cli/terminal.h"
#include "config/paths.h"
#include "preflight/guest_folders.h"
#include "yaml/mapping_reader.h"

namespace pinhole::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

constexpr std::size_t kMostCases = 10'000;

struct Case {
  std::string id;  // "cases.yaml:3"
  policy::Request request;
  policy::Action expected = policy::Action::allow;
  std::optional<std::string> rule;
};

struct Outcome {
  const Case& tried;
  policy::Verdict verdict;

  [[nodiscard]] bool ok() const {
    return verdict.action == tried.expected && (!tried.rule || *tried.rule == verdict.rule);
  }
};

Result<Case> read_case(const yaml::Document& document, const yaml::Node& item) {
  yaml::MappingReader r(document, item, "a case");
  const std::string text = r.required_string("request");
  const auto expected = r.optional_choice("expect", {"allow", "deny"});
  const auto rule = r.optional_string("rule");
  PINHOLE_TRY_VOID(r.finish());
  if (!expected) {
    return fail(yaml::error_at(document, item.mark,
                               "the key \"expect\" is missing; it expects allow or deny"));
  }
  const std::size_t space = text.find(' ');
  const yaml::Mark mark = item.find("request")->mark;
  if (space == std::string::npos) {
    return fail(yaml::error_at(document, mark,
                               "\"request\" expects a method and a URL, or CONNECT host:port"));
  }
  auto request = read_request(text.substr(0, space), text.substr(space + 1));
  if (!request) return fail(yaml::error_at(document, mark, request.error().message));
  return Case{.id = fmt::format("{}:{}", document.source, item.mark.line),
              .request = *std::move(request),
              .expected = *expected == "allow" ? policy::Action::allow : policy::Action::deny,
              .rule = rule};
}

Result<std::vector<Case>> read_cases(const std::string& name) {
  PINHOLE_TRY(const config::Paths paths, config::user_paths());
  const fs::path path = name;
  const auto folders =
      preflight::GuestFolders::of(paths, {fs::absolute(path).lexically_normal().parent_path()});
  PINHOLE_TRY(const std::string text, folders.read(path, config::kLargestConfigFile));
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, name));
  const yaml::Node& root = document.root;
  if (root.kind != yaml::Node::Kind::sequence || root.items.empty() ||
      root.items.size() > kMostCases) {
    return fail(
        yaml::error_at(document, root.mark,
                       fmt::format("the file expects a list of 1 to {} cases, such as "
                                   "`- {{request: GET https://example.com/, expect: allow}}`",
                                   kMostCases)));
  }
  std::vector<Case> cases;
  for (const yaml::Node& item : root.items) {
    PINHOLE_TRY(Case each, read_case(document, item));
    cases.push_back(std::move(each));
  }
  return cases;
}

json::object to_json(const Outcome& outcome) {
  json::object object{{"case", outcome.tried.id},
                      {"request", outcome.tried.request.text()},
                      {"expect", to_string(outcome.tried.expected)},
                      {"action", to_string(outcome.verdict.action)},
                      {"rule", outcome.verdict.rule},
                      {"reason", outcome.verdict.reason},
                      {"ok", outcome.ok()}};
  if (outcome.tried.rule) object["expected_rule"] = *outcome.tried.rule;
  return object;
}

void print_table(const std::vector<Outcome>& outcomes) {
  std::size_t width = 0;
  for (const Outcome& outcome : outcomes) {
    width = std::max(width, std::min<std::size_t>(70, outcome.tried.request.text().size()));
  }
  for (const Outcome& outcome : outcomes) {
    const policy::Verdict& verdict = outcome.verdict;
    print_line(fmt::format("{}  {:<5}  {:<{}}  {}", outcome.ok() ? green("ok  ") : red("FAIL"),
                           to_string(verdict.action), printable(outcome.tried.request.text()),
                           width, printable(verdict.rule)));
    if (outcome.ok()) continue;
    std::string expected(to_string(outcome.tried.expected));
    if (outcome.tried.rule) expected += " by " + *outcome.tried.rule;
    print_line(
        fmt::format("      {} expects {}", printable(outcome.tried.id), printable(expected)));
    print_line(fmt::format("      {}", printable(verdict.reason)));
  }
}

Result<int> test(const std::string& file, const PolicyWords& words) {
  PINHOLE_TRY(const std::vector<Case> cases, read_cases(file));
  PINHOLE_TRY(const policy::Policy policy, chosen_policy(words));
  std::vector<Outcome> outcomes;
  for (const Case& each : cases) {
    outcomes.push_back({.tried = each, .verdict = policy.decide(each.request)});
  }
  const auto failed = std::ranges::count(outcomes, false, &Outcome::ok);
  if (words.json) {
    json::array list;
    for (const Outcome& outcome : outcomes) list.push_back(to_json(outcome));
    print_json(json::serialize(
        json::object{{"ok", failed == 0}, {"cases", std::move(list)}, {"policy", policy.hash()}}));
  } else {
    print_table(outcomes);
    print_line(failed == 0 ? fmt::format("{} cases, all as expected", outcomes.size())
                           : fmt::format("{} cases, {} not as expected", outcomes.size(), failed));
  }
  return failed == 0 ? 0 : 1;
}

}  // namespace

void add_policy_test(Commands& commands, CLI::App& parent) {
  CLI::App& command = commands.add(
      "test", "Try a file of requests against the policy; 1 when one is not as expected",
      "  pinhole policy test cases.yaml\n"
      "  # cases.yaml:  - {request: GET https://example.com/, expect: deny}",
      &parent);
  auto file = std::make_shared<std::string>();
  auto words = std::make_shared<PolicyWords>();
  command.add_option("FILE", *file, "a list of {request, expect: allow or deny, rule}")->required();
  add_policy_words(command, *words);
  add_vm_word(command, *words);
  commands.on(command, [=] { return test(*file, *words); });
}

}  // namespace pinhole::cli
