// SPDX-License-Identifier: Apache-2.0
#include "image/manifest.h"

#include <algorithm>

#include "base/clock.h"
#include "base/strings.h"
#include "yaml/mapping_reader.h"

namespace pinhole::image {
namespace {

bool is_sha256(std::string_view text) {
  return text.size() == 64 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

/// Reads what every manifest has; each wrong value is reported at its place.
class Fields {
 public:
  Fields(const yaml::Document& document, const yaml::Node& node, std::string_view what)
      : document_(document), node_(node), reader_(document, node, what) {}

  yaml::MappingReader& reader() { return reader_; }

  std::string hash(std::string_view key) {
    std::string value = reader_.required_string(key);
    if (!is_sha256(value)) wrong(key, "64 hexadecimal digits");
    return value;
  }
  std::string time(std::string_view key) {
    std::string value = reader_.required_string(key);
    if (!parse_time(value)) wrong(key, "a time such as 2026-11-22T17:36:22Z");
    return value;
  }
  std::uint64_t number(std::string_view key) {
    const auto value = reader_.optional_u64(key);
    if (!value && !reader_.has(key)) missing(key);
    return value.value_or(0);
  }
  void missing(std::string_view key) {
    reader_.report(node_.mark, fmt::format("\"{}\" is missing", key));
  }
  /// A mapping below `key`, read by `read(Fields&) -> void`.
  template <typename Read>
  void inner(std::string_view key, Read&& read) {
    const yaml::Node* node = reader_.required_mapping(key);
    if (node == nullptr) return;
    Fields fields(document_, *node, fmt::format("\"{}\"", key));
    read(fields);
    if (auto done = fields.reader_.finish(); !done) reader_.report(node->mark, done.error());
  }

 private:
  void wrong(std::string_view key, std::string_view expected) {
    const yaml::Node* node = node_.kind == yaml::Node::Kind::mapping ? node_.find(key) : nullptr;
    if (node == nullptr) return;  // missing: the reader says so
    reader_.report(node->mark, fmt::format("\"{}\" expects {}, found {}", key, expected,
                                           yaml::describe(*node)));
  }

  const yaml::Document& document_;
  const yaml::Node& node_;
  yaml::MappingReader reader_;
};

void read_file_record(Fields& files, std::string_view name, FileRecord& record) {
  files.inner(name, [&](Fields& fields) {
    record.sha256 = fields.hash("sha256");
    record.size = fields.number("size");
    record.mtime_ns = fields.number("mtime_ns");
  });
}

void read_provenance(Fields& fields, Provenance& provenance) {
  provenance.recipe_sha256 = fields.hash("recipe_sha256");
  provenance.agent_sha256 = fields.hash("agent_sha256");
  provenance.suite = fields.reader().required_string("suite");
  provenance.archive_date = fields.time("archive_date");
  provenance.packages = fields.reader().string_list("packages");
  if (provenance.packages.empty()) fields.missing("packages");
}

Result<void> check_version(const yaml::Document& document) {
  const yaml::Node* node =
      document.root.kind == yaml::Node::Kind::mapping ? document.root.find("version") : nullptr;
  if (node == nullptr) return {};  // the reader reports it
  const auto version = parse_u64(node->text);
  if (node->kind == yaml::Node::Kind::scalar && version && *version > kManifestVersion) {
    return fail(Error{
        .message = fmt::format("{}: manifest version {} is newer than this pinhole, which reads {}",
                               document.source, *version, kManifestVersion),
        .fix = "use the pinhole that built the image, or build it anew: pinhole image build "
               "--refresh"});
  }
  return {};
}

std::string quoted(std::string_view text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += c;
  }
  return result + "'";
}

std::string print_record(std::string_view name, const FileRecord& record) {
  return fmt::format("  {}:\n    sha256: {}\n    size: {}\n    mtime_ns: {}\n", name, record.sha256,
                     record.size, record.mtime_ns);
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, std::string_view source) {
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, source, {.bytes = kMaxManifest}));
  PINHOLE_TRY_VOID(check_version(document));
  Fields fields(document, document.root, "the manifest");
  yaml::MappingReader& reader = fields.reader();
  Manifest manifest;
  const std::uint64_t version = fields.number("version");
  if ((version < 1 || version > kManifestVersion) && reader.has("version")) {
    reader.report(document.root.find("version")->mark, "\"version\" expects 1 or 2");
  }
  manifest.name = reader.required_string("name");
  manifest.format = reader.optional_choice("format", {"raw"}).value_or("");
  manifest.architecture = reader.optional_choice("architecture", {"x86_64"}).value_or("");
  for (const std::string_view key : {"format", "architecture"}) {
    if (!reader.has(key)) fields.missing(key);
  }
  manifest.built = fields.time("built");
  manifest.builder = reader.required_string("builder");
  manifest.key = fields.hash("key");
  manifest.cmdline = reader.required_string("cmdline");
  fields.inner("files", [&](Fields& files) {
    read_file_record(files, "disk.raw", manifest.disk);
    read_file_record(files, "vmlinuz", manifest.kernel);
    read_file_record(files, "initrd", manifest.initrd);
    if (version > 1 && files.reader().has("direct.cpio"))
      read_file_record(files, "direct.cpio", manifest.direct.emplace());
  });
  fields.inner("provenance", [&](Fields& inner) { read_provenance(inner, manifest.provenance); });
  PINHOLE_TRY_VOID(reader.finish());
  return manifest;
}

std::string print_manifest(const Manifest& manifest) {
  const Provenance& from = manifest.provenance;
  std::string text = fmt::format(
      "version: {}\nname: {}\nformat: {}\narchitecture: {}\nbuilt: {}\nbuilder: {}\nkey: {}\n"
      "cmdline: {}\nfiles:\n",
      kManifestVersion, quoted(manifest.name), manifest.format, manifest.architecture,
      manifest.built, quoted(manifest.builder), manifest.key, quoted(manifest.cmdline));
  text += print_record("disk.raw", manifest.disk);
  text += print_record("vmlinuz", manifest.kernel);
  text += print_record("initrd", manifest.initrd);
  if (manifest.direct) text += print_record("direct.cpio", *manifest.direct);
  text += fmt::format(
      "provenance:\n  recipe_sha256: {}\n  agent_sha256: {}\n  suite: {}\n  archive_date: {}\n"
      "  packages:\n",
      from.recipe_sha256, from.agent_sha256, quoted(from.suite), from.archive_date);
  for (const std::string& package : from.packages)
    text += fmt::format("    - {}\n", quoted(package));
  return text;
}

}  // namespace pinhole::image
