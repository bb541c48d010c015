// SPDX-License-Identifier: Apache-2.0
#include "agent/trust.h"

#include <array>
#include <chrono>
#include <utility>

#include "agent/guest_file.h"
#include "agent/trust_certificate.h"
#include "agent/trust_java.h"
#include "base/strings.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kAnchor = "/usr/local/share/ca-certificates/pinhole.crt";
/// Debian's (and Alpine's, Arch's …), Fedora's, SUSE's.
constexpr std::array<std::string_view, 3> kBundles = {
    "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem"};
constexpr std::string_view kFedoraAnchors = "/etc/pki/ca-trust/source/anchors";
constexpr std::string_view kJavaKeystore = "/etc/ssl/certs/java/cacerts";

/// Of the bundle: OpenSSL and what is built on it (Go and Ruby among it), Python's requests and pip,
/// curl, git, cargo, the AWS and Google tools, gRPC, Nix.
constexpr std::array<std::string_view, 10> kBundleVariables = {
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
    "NIX_SSL_CERT_FILE",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE"};
/// Of our authority alone, beside those that the program brings: Node (npm, yarn, bun), Deno.
constexpr std::array<std::string_view, 2> kAnchorVariables = {"NODE_EXTRA_CA_CERTS", "DENO_CERT"};

constexpr std::array<std::string_view, 3> kGitHosts = {"github.com", "gitlab.com", "bitbucket.org"};

fs::path below(const fs::path& root, std::string_view path) {
  return root / fs::path(path).relative_path();
}

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error);
}

class Installer {
 public:
  Installer(fs::path root, std::string pem, Certificate certificate)
      : root_(std::move(root)), pem_(std::move(pem)), certificate_(std::move(certificate)) {}

  std::vector<std::string> run() {
    const std::string before = guest_file(below(root_, kAnchor));
    put_into_bundles(before);
    link_anchor();
    if (is_there(below(root_, kFedoraAnchors)))
      note(put_guest_file(below(root_, kFedoraAnchors) / "pinhole.crt", pem_));
    put_into_java();
    tell_browsers();
    const fs::path environment = below(root_, "/etc/environment");
    note(put_guest_file(environment,
                        with_trust_variables(guest_file(environment), bundle_, kAnchor)));
    // Last: what an interrupted boot has left is done again by the next one.
    note(put_guest_file(below(root_, kAnchor), pem_));
    return std::move(problems_);
  }

 private:
  void note(const Result<void>& outcome) {
    if (!outcome) problems_.push_back(outcome.error().message);
  }

  void put_into_bundles(std::string_view before) {
    for (const std::string_view bundle : kBundles) {
      const fs::path file = below(root_, bundle);
      if (!is_there(file)) continue;
      if (bundle_.empty()) bundle_ = bundle;
      note(put_guest_file(file, with_certificate(guest_file(file), pem_, before)));
    }
    if (!bundle_.empty()) return;
    bundle_ = kBundles[0];
    note(put_guest_file(below(root_, bundle_), pem_));
  }

  /// As update-ca-certificates and openssl rehash name them.
  void link_anchor() {
    const fs::path folder = below(root_, "/etc/ssl/certs");
    std::error_code error;
    fs::create_directories(folder, error);
    link(std::string(kAnchor), folder / "pinhole.pem");
    if (certificate_.subject_hash)
      link("pinhole.pem", folder / (*certificate_.subject_hash + ".0"));
  }

  void link(const std::string& target, const fs::path& path) {
    std::error_code error;
    if (fs::read_symlink(path, error) == target) return;
    // Somebody else's authority of the same name keeps its place; the bundle has ours.
    fs::create_symlink(target, path, error);
  }

  void put_into_java() {
    const fs::path file = below(root_, kJavaKeystore);
    if (!is_there(file)) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count();
    const auto changed = with_java_authority(guest_file(file), "pinhole", certificate_.der,
                                             static_cast<std::uint64_t>(ms));
    if (changed) return note(put_guest_file(file, *changed));
    note(fail("{}: {}", kJavaKeystore, changed.error().message));
  }

  void tell_browsers() {
    // ECH would hide the name that the door decides by; names are the agent's business, not DoH's.
    const std::string chromium = fmt::format(
        "{{\n  \"CACertificates\": [\"{}\"],\n  \"EncryptedClientHelloEnabled\": false,\n"
        "  \"DnsOverHttpsMode\": \"off\",\n  \"QuicAllowed\": false\n}}\n",
        certificate_.base64);
    struct Browser {
      std::string_view installed;
      std::string_view policies;
    };
    constexpr std::array<Browser, 3> kChromiums = {
        Browser{"/usr/bin/chromium", "/etc/chromium/policies/managed/pinhole.json"},
        Browser{"/etc/chromium", "/etc/chromium/policies/managed/pinhole.json"},
        Browser{"/opt/google/chrome", "/etc/opt/chrome/policies/managed/pinhole.json"}};
    for (const Browser& browser : kChromiums)
      if (is_there(below(root_, browser.installed)))
        note(put_guest_file(below(root_, browser.policies), chromium));
    const bool has_firefox = is_there(below(root_, "/usr/bin/firefox")) ||
                             is_there(below(root_, "/usr/bin/firefox-esr"));
    const fs::path firefox = below(root_, "/etc/firefox/policies/policies.json");
    if (!has_firefox || is_there(firefox)) return;
    note(put_guest_file(
        firefox, fmt::format("{{\"policies\": {{\"Certificates\": {{\"Install\": [\"{}\"]}}}}}}\n",
                             kAnchor)));
  }

  fs::path root_;
  std::string pem_;
  Certificate certificate_;
  std::string bundle_;
  std::vector<std::string> problems_;
};

bool sets(std::string_view environment, std::string_view name) {
  for (std::string_view line : split(environment, '\n')) {
    line = trim(line);
    if (line.starts_with("export ")) line = trim(line.substr(7));
    if (line.starts_with(name) && line.substr(name.size()).starts_with('=')) return true;
  }
  return false;
}

}  // namespace

std::string with_certificate(std::string_view bundle, std::string_view pem,
                             std::string_view before) {
  std::string out(bundle);
  if (!before.empty() && before != pem) {
    if (const auto at = out.find(before); at != std::string::npos) out.erase(at, before.size());
  }
  if (out.contains(pem)) return out;
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  return out.append(pem);
}

std::string with_trust_variables(std::string_view environment, std::string_view bundle,
                                 std::string_view anchor) {
  std::string out(environment);
  if (!out.empty() && !out.ends_with('\n')) out += '\n';
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!sets(environment, name)) out += fmt::format("{}={}\n", name, value);
  };
  for (const std::string_view name : kBundleVariables) add(name, bundle);
  for (const std::string_view name : kAnchorVariables) add(name, anchor);
  return out;
}

std::vector<std::string> install_authority(const fs::path& root, std::string_view pem) {
  auto certificate = read_certificate(pem);
  if (!certificate) return {"the authority that the host named is no certificate"};
  std::string text(pem);
  if (!text.ends_with('\n')) text += '\n';
  return Installer(root, std::move(text), *std::move(certificate)).run();
}

Result<void> lead_git_to_https(const fs::path& root) {
  const fs::path file = root / "etc/gitconfig";
  const std::string before = guest_file(file);
  std::string out = before;
  for (const std::string_view host : kGitHosts) {
    const std::string section = fmt::format("[url \"https://{}/\"]", host);
    if (before.contains(section)) continue;
    if (!out.empty() && !out.ends_with('\n')) out += '\n';
    out += fmt::format("{}\n\tinsteadOf = git@{}:\n\tinsteadOf = ssh://git@{}/\n", section, host,
                       host);
  }
  return put_guest_file(file, out);
}

}  // namespace pinhole::agent
