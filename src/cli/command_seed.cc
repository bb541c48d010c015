// SPDX-License-Identifier: Apache-2.0
// pinhole seed build | inspect.
#include <boost/json.hpp>

#include "base/printable.h"
#include "cli/app.h"
#include "cli/terminal.h"
#include "image/seed.h"
#include "image/user_data.h"
#include "sys/confine_self.h"
#include "sys/files.h"

namespace pinhole::cli {
namespace {

namespace json = boost::json;

struct BuildWords {
  std::string user_data, output, image_hash, instance_id, hostname = "pinhole";
};

Result<int> build(const BuildWords& words) {
  PINHOLE_TRY(const std::string user_data, sys::read_file(words.user_data, image::kMaxUserData));
  PINHOLE_TRY(const image::Notes notes, image::check_user_data(user_data, words.user_data));
  for (const std::string& note : notes) print_note("note: " + printable(note));
  const std::string id = words.instance_id.empty() ? image::instance_id(words.image_hash, user_data)
                                                   : words.instance_id;
  PINHOLE_TRY_VOID(image::build_seed(
      {.user_data = user_data, .instance_id = id, .hostname = words.hostname}, words.output));
  print_line(fmt::format("{}: instance-id {}", words.output, id));
  return 0;
}

Result<int> inspect(const std::string& file, bool as_json) {
  // Any ISO of anybody's, read by a library for forty formats.
  PINHOLE_TRY_VOID(sys::confine_self({.paths = {{.path = file}}}));
  PINHOLE_TRY(const image::SeedReport report, image::inspect_seed(file));
  if (as_json) {
    json::array files, problems;
    for (const auto& item : report.files)
      files.emplace_back(json::object{{"name", printable(item.name)}, {"size", item.size}});
    for (const Error& problem : report.problems) {
      problems.emplace_back(json::object{
          {"code", problem.code}, {"problem", printable(problem.message)}, {"fix", problem.fix}});
    }
    print_json(json::serialize(json::object{{"ok", report.problems.empty()},
                                            {"label", printable(report.label)},
                                            {"size", report.size},
                                            {"files", std::move(files)},
                                            {"instance_id", printable(report.instance_id)},
                                            {"hostname", printable(report.hostname)},
                                            {"problems", std::move(problems)}}));
    return report.problems.empty() ? 0 : 1;
  }
  print_line(fmt::format("label        {}", printable(report.label)));
  print_line(fmt::format("size         {}", report.size));
  print_line(fmt::format("instance-id  {}", printable(report.instance_id)));
  print_line(fmt::format("hostname     {}", printable(report.hostname)));
  for (const auto& item : report.files)
    print_line(fmt::format("file         {} ({} bytes)", printable(item.name), item.size));
  if (report.files_cut) print_line("file         … and more");
  for (const Error& problem : report.problems)
    print_line(fmt::format("problem      {} ({})", printable(problem.message), problem.code));
  if (!report.problems.empty()) print_line("fix          " + report.problems.front().fix);
  return report.problems.empty() ? 0 : 1;
}

}  // namespace

void add_seed(Commands& commands) {
  CLI::App& parent =
      commands.add("seed", "The NoCloud ISO that configures a cloud image, on its own",
                   "  pinhole seed build user-data.yaml -o seed.iso");
  parent.require_subcommand(1);

  CLI::App& build_command =
      commands.add("build", "Write an ISO with exactly user-data and meta-data, label cidata",
                   "  pinhole seed build user-data.yaml -o seed.iso", &parent);
  auto words = std::make_shared<BuildWords>();
  build_command
      .add_option("USER-DATA", words->user_data, "cloud-init user-data (#cloud-config or a script)")
      ->required();
  build_command.add_option("-o,--output", words->output, "the ISO to write")->required();
  build_command.add_option("--image-hash", words->image_hash,
                           "what names the disk: part of the instance-id");
  build_command.add_option("--instance-id", words->instance_id,
                           "instead of one derived from image and user-data");
  build_command.add_option("--hostname", words->hostname, "local-hostname")->capture_default_str();
  commands.on(build_command, [words] { return build(*words); });

  CLI::App& inspect_command = commands.add(
      "inspect", "Read any ISO back: label, files, sizes, instance-id, and what is wrong with it",
      "  pinhole seed inspect seed.iso", &parent);
  auto file = std::make_shared<std::string>();
  auto as_json = std::make_shared<bool>(false);
  inspect_command.add_option("ISO", *file, "the image")->required();
  inspect_command.add_flag("--json", *as_json, "print JSON");
  commands.on(inspect_command, [=] { return inspect(*file, *as_json); });
}

}  // namespace pinhole::cli
