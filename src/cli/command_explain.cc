// SPDX-License-Identifier: Apache-2.0
// pinhole explain.
#include <boost/json.hpp>

#include "base/printable.h"
#include "base/strings.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "failures/table.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

json::object to_json(const failures::Failure& failure) {
  return {{"code", failure.code},
          {"symptom", failure.symptom},
          {"message", failure.message},
          {"cause", failure.cause},
          {"fix", failure.fix}};
}

int list(bool as_json) {
  json::array all;
  for (const failures::Area& area : failures::areas()) {
    if (!as_json && !area.failures.empty()) print_line(area.title);
    for (const failures::Failure* failure : area.failures) {
      if (as_json) {
        all.emplace_back(to_json(*failure));
      } else {
        print_line(fmt::format("  {:<30} {}", failure->code, failure->symptom));
      }
    }
  }
  if (as_json) print_json(json::serialize(all));
  return 0;
}

Result<int> explain(const std::string& code, bool as_json) {
  if (code.empty()) return list(as_json);
  const failures::Failure* failure = failures::find(code);
  if (failure == nullptr) {
    return fail(Error{.message = fmt::format("no failure has the code \"{}\"", printable(code, 80)),
                      .fix = "pinhole explain   (lists all of them)",
                      .exit_status = kUsageStatus});
  }
  if (as_json) return print_json(json::serialize(to_json(*failure))), 0;
  print_line(failure->symptom);
  print_line("");
  print_line(fmt::format("  pinhole: {}", failure->message));
  print_line(fmt::format("  fix:     {}", failure->fix));
  print_line("");
  print_line(failure->cause);
  return 0;
}

}  // namespace

void add_explain(Commands& commands) {
  CLI::App& command =
      commands.add("explain", "Say what a failure's code means, where it comes from and what to do",
                   "  pinhole explain\n  pinhole explain kernel_is_no_kernel");
  auto code = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  auto markdown = std::make_shared<bool>(false);
  command.add_option("CODE", *code, "one failure; without it, all are listed");
  auto* json_flag = command.add_flag("--json", *as_json, "print JSON");
  command.add_flag("--markdown", *markdown, "print the whole page docs/troubleshooting.md")
      ->excludes(json_flag);
  commands.on(command, [=]() -> Result<int> {
    if (!*markdown) return explain(*code, *as_json);
    const std::string page = failures::markdown();
    for (const std::string_view line :
         split(std::string_view(page).substr(0, page.size() - 1), '\n'))
      print_line(line);
    return 0;
  });
}

}  // namespace pinhole::cli
