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

/// Words that a user sees again; a list of them may be missing.
void read_import(Fields& fields, Imported& imported) {
  imported.file_name = fields.reader().required_string("file_name");
  imported.sha256 = fields.hash("sha256");
  imported.format = fields.reader().required_string("format");
  imported.layout = fields.reader().required_string("layout");
  imported.boot = fields.reader().required_string("boot");
  imported.root = fields.reader().required_string("root");
  imported.agent_sha256 = fields.hash("agent_sha256");
  if (fields.reader().has("prepared")) imported.prepared = fields.reader().string_list("prepared");
  if (fields.reader().has("shortfall"))
    imported.shortfall = fields.reader().string_list("shortfall");
}

void read_files(Fields& files, std::uint64_t version, bool imported, Manifest& manifest) {
  const auto has = [&](std::string_view name) { return files.reader().has(name); };
  read_file_record(files, "disk.raw", manifest.disk);
  if (!imported || has("vmlinuz")) read_file_record(files, "vmlinuz", manifest.kernel);
  if (!imported) read_file_record(files, "initrd", manifest.initrd);
  if (version > 1 && !imported && has("direct.cpio"))
    read_file_record(files, "direct.cpio", manifest.direct.emplace());
  if (imported && has("tools.iso")) read_file_record(files, "tools.iso", manifest.tools.emplace());
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

std::string print_list(std::string_view name, const std::vector<std::string>& items) {
  if (items.empty()) return {};
  std::string text = fmt::format("  {}:\n", name);
  for (const std::string& item : items) text += fmt::format("    - {}\n", quoted(item));
  return text;
}

std::string print_provenance(const Provenance& from) {
  return fmt::format(
             "provenance:\n  recipe_sha256: {}\n  agent_sha256: {}\n  suite: {}\n  archive_date: "
             "{}\n",
             from.recipe_sha256, from.agent_sha256, quoted(from.suite), from.archive_date) +
         print_list("packages", from.packages);
}

std::string print_import(const Imported& from) {
  return fmt::format(
             "import:\n  file_name: {}\n  sha256: {}\n  format: {}\n  layout: {}\n  boot: {}\n"
             "  root: {}\n  agent_sha256: {}\n",
             quoted(from.file_name), from.sha256, quoted(from.format), quoted(from.layout),
             quoted(from.boot), quoted(from.root), from.agent_sha256) +
         print_list("prepared", from.prepared) + print_list("shortfall", from.shortfall);
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
    reader.report(document.root.find("version")->mark, "\"version\" expects 1, 2 or 3");
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
  const bool imported = version > 2 && reader.has("import");
  if (!imported) manifest.cmdline = reader.required_string("cmdline");
  fields.inner("files", [&](Fields& files) { read_files(files, version, imported, manifest); });
  if (imported) {
    fields.inner("import", [&](Fields& inner) { read_import(inner, manifest.imported.emplace()); });
  } else {
    fields.inner("provenance", [&](Fields& inner) { read_provenance(inner, manifest.provenance); });
  }
  PINHOLE_TRY_VOID(reader.finish());
  return manifest;
}

std::string print_manifest(const Manifest& manifest) {
  // What an older pinhole can read, it is to read.
  std::string text = fmt::format(
      "version: {}\nname: {}\nformat: {}\narchitecture: {}\nbuilt: {}\nbuilder: {}\nkey: {}\n",
      manifest.imported ? 3 : 2, quoted(manifest.name), manifest.format, manifest.architecture,
      manifest.built, quoted(manifest.builder), manifest.key);
  if (!manifest.imported) text += fmt::format("cmdline: {}\n", quoted(manifest.cmdline));
  text += "files:\n" + print_record("disk.raw", manifest.disk);
  if (manifest.has_kernel()) text += print_record("vmlinuz", manifest.kernel);
  if (manifest.has_initrd()) text += print_record("initrd", manifest.initrd);
  if (manifest.direct) text += print_record("direct.cpio", *manifest.direct);
  if (manifest.tools) text += print_record("tools.iso", *manifest.tools);
  return text + (manifest.imported ? print_import(*manifest.imported)
                                   : print_provenance(manifest.provenance));
}

}  // namespace pinhole::image
