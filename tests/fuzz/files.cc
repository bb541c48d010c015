// SPDX-License-Identifier: Apache-2.0
// The text files that people, packages and earlier runs write: each is taken or refused with one
// readable error, and what is taken says the same when it is written again. The first byte chooses
// the reader.
#include <algorithm>

#include "config/vm_file.h"
#include "config/vm_plan.h"
#include "fuzz/fuzz.h"
#include "image/archive_sources.h"
#include "image/manifest.h"
#include "image/recipe.h"
#include "image/user_data.h"
#include "qemu/firmware.h"
#include "yaml/yaml.h"

namespace pinhole {
namespace {

void check_line(std::string_view text) {
  for (const char c : text) PINHOLE_CHECK(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F);
}
void check_error(const Error& error) {
  PINHOLE_CHECK(!error.message.empty());
  // format_error() is what a user sees; it may escape, but it must not have to break a line.
  const std::string shown = format_error("pinhole", error);
  PINHOLE_CHECK(static_cast<std::size_t>(std::ranges::count(shown, '\n')) <=
                2 + error.details.size());
}

void check_node(const yaml::Node& node, const yaml::Document& document, std::size_t depth) {
  PINHOLE_CHECK(depth <= yaml::Limits().depth + 1);
  PINHOLE_CHECK(node.mark.line >= 1 && node.mark.column >= 1);
  PINHOLE_CHECK(node.items.empty() || node.kind == yaml::Node::Kind::sequence ||
                node.kind == yaml::Node::Kind::mapping);
  check_error(yaml::error_at(document, node.mark, "here"));
  for (const yaml::Node& item : node.items) {
    if (node.kind == yaml::Node::Kind::mapping) PINHOLE_CHECK(node.find(item.key) == &item);
    check_node(item, document, depth + 1);
  }
}

void read_yaml(std::string_view text) {
  const auto document = yaml::parse(text, "f.yaml");
  if (!document) return check_error(document.error());
  check_node(document->root, *document, 0);
}

void read_user_data(std::string_view text) {
  const auto notes = image::check_user_data(text, "user-data");
  if (!notes) return check_error(notes.error());
  for (const std::string& note : *notes) check_line(note);
}

void read_manifest(std::string_view text) {
  const auto manifest = image::parse_manifest(text, "manifest.yaml");
  if (!manifest) return check_error(manifest.error());
  const auto again = image::parse_manifest(image::print_manifest(*manifest), "manifest.yaml");
  PINHOLE_CHECK(again && *again == *manifest);
}

void read_recipe(std::string_view text) {
  const auto recipe = image::parse_recipe(text, "recipe.yaml");
  if (!recipe) return check_error(recipe.error());
  // Both become parts of command lines.
  for (const std::string& word : recipe->packages)
    PINHOLE_CHECK(!word.empty() && word.front() != '-' &&
                  word.find_first_of(" /;$\n") == std::string::npos);
  for (const std::string& path : {recipe->init, recipe->files, recipe->finish})
    PINHOLE_CHECK(!path.starts_with('/') && !path.starts_with("../") && !path.contains("/../") &&
                  !path.ends_with("/.."));
}

void read_vm_file(std::string_view text) {
  const auto request = config::parse_vm_request(text, "pinhole.yaml");
  if (!request) return check_error(request.error());
  PINHOLE_CHECK(!(request->image && request->disk));
  PINHOLE_CHECK(!request->cpus || (*request->cpus >= 1 && *request->cpus <= 64));
  PINHOLE_CHECK(request->disk_from_project == request->disk.has_value());
  PINHOLE_CHECK(request->workspace_from_project == request->workspace.has_value());
}

void read_plan(std::string_view text) {
  const auto plan = config::parse_vm_plan(text);
  if (!plan) return check_error(plan.error());
  const auto again = config::parse_vm_plan(config::to_json(*plan));
  PINHOLE_CHECK(again && *again == *plan);
}

void read_descriptor(std::string_view text) {
  const auto firmware = qemu::parse_descriptor(text);
  if (!firmware) return check_error(firmware.error());
  if (*firmware) PINHOLE_CHECK(!(*firmware)->code.empty() && !(*firmware)->vars_template.empty());
}

void read_package_lists(std::string_view text) {
  image::installed_packages(text);
  image::newest_release_date({std::string(text)});
  for (const std::string& line : image::debian_sources(text, "bookworm"))
    PINHOLE_CHECK(line.starts_with("deb ") && !line.contains('\n'));
}

}  // namespace
}  // namespace pinhole

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  pinhole::fuzz::Input input(data, size);
  const std::uint8_t reader = input.byte();
  const std::string_view text = input.rest();
  switch (reader) {
    case 'u':
      pinhole::read_user_data(text);
      break;
    case 'm':
      pinhole::read_manifest(text);
      break;
    case 'r':
      pinhole::read_recipe(text);
      break;
    case 'v':
      pinhole::read_vm_file(text);
      break;
    case 'p':
      pinhole::read_plan(text);
      break;
    case 'd':
      pinhole::read_descriptor(text);
      break;
    case 'l':
      pinhole::read_package_lists(text);
      break;
    default:
      pinhole::read_yaml(text);
      break;
  }
  return 0;
}
