// SPDX-License-Identifier: Apache-2.0
#include "config/trust.h"

#include <boost/json.hpp>

#include "config/vm_file.h"
#include "sys/files.h"
#include "yaml/mapping_reader.h"
#include "yaml/yaml.h"

namespace pinhole::config {

Result<TrustStore> TrustStore::load(const std::filesystem::path& file) {
  TrustStore store;
  store.file_ = file;
  std::error_code error;
  if (!std::filesystem::exists(file, error)) return store;
  PINHOLE_TRY(const std::string text, sys::read_file(file, kLargestConfigFile));
  PINHOLE_TRY(const yaml::Document document, yaml::parse(text, file.string()));
  yaml::MappingReader reader(document, document.root);
  if (const std::string version = reader.required_string("version");
      !version.empty() && version != "1") {
    return fail("{} was written by a newer version of Pinhole (version {})", file.string(),
                version);
  }
  for (const yaml::Node& item : reader.list("trusted")) {
    yaml::MappingReader entry(document, item, "an item of \"trusted\"");
    store.entries_.push_back(
        {.path = entry.required_string("path"), .sha256 = entry.required_string("sha256")});
    PINHOLE_TRY_VOID(entry.finish());
  }
  PINHOLE_TRY_VOID(reader.finish());
  return store;
}

bool TrustStore::trusts(const std::filesystem::path& path, std::string_view sha256) const {
  return std::ranges::any_of(entries_, [&](const Entry& entry) {
    return entry.path == path.string() && entry.sha256 == sha256;
  });
}

Result<void> TrustStore::add(const std::filesystem::path& path, std::string_view sha256) {
  std::erase_if(entries_, [&](const Entry& entry) { return entry.path == path.string(); });
  entries_.push_back({.path = path.string(), .sha256 = std::string(sha256)});
  // A JSON string is a YAML double-quoted scalar.
  const auto quoted = [](const std::string& text) {
    return boost::json::serialize(boost::json::value(text));
  };
  std::string text = "version: 1\ntrusted:\n";
  for (const Entry& entry : entries_) {
    text += fmt::format("  - {{path: {}, sha256: {}}}\n", quoted(entry.path), quoted(entry.sha256));
  }
  PINHOLE_TRY_VOID(sys::make_private_dir(file_.parent_path()));
  return sys::write_file_atomic(file_, text);
}

}  // namespace pinhole::config
