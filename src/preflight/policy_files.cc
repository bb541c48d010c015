// SPDX-License-Identifier: Apache-2.0
#include "preflight/policy_files.h"

#include <algorithm>

#include "base/check.h"
#include "base/sha256.h"
#include "config/trust.h"
#include "policy/layer.h"
#include "preflight/guest_folders.h"
#include "preflight/wishes.h"
#include "sys/files.h"
#include "yaml/yaml.h"

namespace pinhole::preflight {
namespace {

namespace fs = std::filesystem;

struct LayerName {
  std::string_view name;
  policy::LayerKind kind;
};
constexpr LayerName kLayers[] = {{"organisation", policy::LayerKind::organisation},
                                 {"user", policy::LayerKind::user},
                                 {"project", policy::LayerKind::project},
                                 {"session", policy::LayerKind::session}};

policy::LayerKind kind_of(std::string_view name) {
  for (const LayerName& layer : kLayers) {
    if (layer.name == name) return layer.kind;
  }
  return policy::LayerKind::project;  // the one that may say least
}

/// The project's text is what is trusted, not the place alone.
Result<bool> is_trusted(const config::Paths& paths, const fs::path& file, const std::string& hash,
                        const std::optional<std::string>& given) {
  if (given && (*given == "sha256:" + hash)) return true;
  PINHOLE_TRY(const auto store, config::TrustStore::load(paths.config / "trusted.yaml"));
  return store.trusts(fs::absolute(file).lexically_normal(), hash);
}

Error not_trusted(const fs::path& file, const std::string& hash, std::vector<std::string> wanted) {
  wanted.insert(wanted.begin(), "it wants:");
  return {
      .message = fmt::format("{} is not trusted yet, or has changed since it was", file.string()),
      .details = std::move(wanted),
      .fix = fmt::format("read it, then: pinhole trust {}   (in CI: --trust=sha256:{})",
                         fs::absolute(file).parent_path().string(), hash),
      .code = "not_trusted"};
}

const std::string& project_text(const Policies& policies) {
  const auto found = std::ranges::find(policies.files, "project", &PolicyFile::layer);
  PINHOLE_CHECK(found != policies.files.end());
  return found->text;
}

std::string how_to_name(std::string_view layer, const fs::path& file) {
  if (layer == "session") return "name another file: --policy FILE";
  if (layer == "project") return "name another file: --config FILE, or go without: --no-config";
  return fmt::format("make it readable for you, or take it away: {}", file.string());
}

/// The message begins with the file's name. A project file counts again only once it is trusted.
Error with_correction(Error error, const PolicySources& sources) {
  if (!error.fix.empty()) return error;
  const bool of_project =
      sources.project && (error.message.starts_with(sources.project->string()) ||
                          error.message.starts_with(sources.project->filename().string()));
  if (!of_project) return std::move(error).with_fix("correct the file");
  return std::move(error).with_fix(
      fmt::format("correct the file, then: pinhole trust {}",
                  fs::absolute(*sources.project).lexically_normal().parent_path().string()));
}

/// Neither folder is one that a guest writes.
Result<std::string> read_own(const fs::path& file) {
  return sys::read_file(file, config::kLargestConfigFile);
}

GuestFolders guest_folders(const config::Paths& paths, const PolicySources& sources) {
  std::vector<fs::path> more;
  if (sources.workspace) more.push_back(*sources.workspace);
  if (sources.project) more.push_back(fs::absolute(*sources.project).parent_path());
  return GuestFolders::of(paths, more);
}

}  // namespace

Result<Policies> gather_policies(const config::Paths& paths, const PolicySources& sources) {
  Policies out;
  const auto add = [&](std::string_view layer, const fs::path& file,
                       Result<std::string> text) -> Result<void> {
    if (!text) {
      return fail(std::move(text)
                      .error()
                      .context(fmt::format("the {} policy", layer))
                      .with_fix(how_to_name(layer, file)));
    }
    out.files.push_back(
        {.layer = std::string(layer), .name = file.filename().string(), .text = *std::move(text)});
    return {};
  };
  std::error_code error;
  const fs::path organisation = "/etc/pinhole/policy.yaml";
  if (fs::exists(organisation, error))
    PINHOLE_TRY_VOID(add("organisation", organisation, read_own(organisation)));
  if (const fs::path user = paths.config / "config.yaml"; fs::exists(user, error))
    PINHOLE_TRY_VOID(add("user", user, read_own(user)));
  if (sources.project) {
    PINHOLE_TRY_VOID(add("project", *sources.project, read_project_file(*sources.project)));
    auto request = config::parse_vm_request(out.files.back().text, sources.project->string());
    if (!request) return fail(with_correction(std::move(request).error(), sources));
    out.project_request = *std::move(request);
  }
  const GuestFolders guests = guest_folders(paths, sources);
  for (const fs::path& file : sources.session)
    PINHOLE_TRY_VOID(add("session", file, guests.read(file, config::kLargestConfigFile)));
  out.files.insert(out.files.end(), sources.session_texts.begin(), sources.session_texts.end());

  std::vector<policy::Layer> layers;
  std::vector<std::string> wanted;
  for (const PolicyFile& file : out.files) {
    auto layer = parse_layer(file);
    if (!layer) return fail(with_correction(std::move(layer).error(), sources));
    if (file.layer == "project") {
      const auto content = policy::read_layer(*layer);
      if (!content) return fail(with_correction(content.error(), sources));
      wanted = wishes(*content, out.project_request);
    }
    layers.push_back(*std::move(layer));
  }
  auto compiled = policy::Policy::compile(std::move(layers));
  if (!compiled) return fail(with_correction(compiled.error(), sources));
  // Only now the question of trust: a broken file is told as broken.
  if (sources.project) {
    const std::string hash = sha256_hex(project_text(out));
    PINHOLE_TRY(out.project_is_trusted,
                is_trusted(paths, *sources.project, hash, sources.trusted_hash));
    if (!out.project_is_trusted && !sources.only_look)
      return fail(not_trusted(*sources.project, hash, std::move(wanted)));
  }
  out.hash = compiled->hash();
  out.warnings = compiled->warnings();
  out.ca_files = compiled->ca_files();
  out.policy = *std::move(compiled);
  return out;
}

Result<policy::Layer> parse_layer(const PolicyFile& file) {
  PINHOLE_TRY(auto document, yaml::parse(file.text, file.name));
  return policy::Layer{
      .kind = kind_of(file.layer),
      .document = std::move(document),
      // Only a project describes a machine; elsewhere the key would be read by nobody.
      .foreign_keys =
          file.layer == "project" ? std::vector<std::string>{"vm"} : std::vector<std::string>{}};
}

}  // namespace pinhole::preflight
