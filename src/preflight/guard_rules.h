// SPDX-License-Identifier: Apache-2.0
// The names in a workspace that the host executes, or takes commands from, without being asked to build or run the
// project: by entering the folder, opening it in an editor, using git in it, pushing it. What is executed only when the
// user builds or runs the project (Makefile, package.json, the sources) is not here: docs/workspace.md says why.
#pragma once

#include <algorithm>
#include <string_view>

namespace pinhole::preflight {

enum class Scope {
  anywhere,  // but in folders of dependencies (kDependencyFolders)
  roots,     // at the top of the workspace or of a repository
};

/// How what is in a file counts.
enum class Content {
  whole,
  git_config,  // the lines that can make git execute something (preflight/git_settings.h)
  git_hooks,   // a folder: what is executable in it
  git_file,    // a `.git` that leads to a repository elsewhere
};

struct GuardRule {
  std::string_view name;  // one or two components; "*x" is every name that ends so
  Scope scope = Scope::anywhere;
  std::string_view why;  // "direnv runs it when a shell enters the folder"
};

inline constexpr std::string_view kGitConfig = "git runs the programs that it names";
inline constexpr std::string_view kGitHooks = "git runs what is in it";
inline constexpr std::string_view kGitElsewhere = "git takes config and hooks from where it leads";
inline constexpr std::string_view kGitTodo = "git rebase --continue runs the commands in it";
inline constexpr std::string_view kEditor = "editors run tasks and programs that it names";
inline constexpr std::string_view kAssistant = "coding assistants run programs that it names";
inline constexpr std::string_view kShell = "a shell that enters the folder runs it";
inline constexpr std::string_view kHookTool = "git's hooks run what it says";
inline constexpr std::string_view kCi = "CI runs what it says, with its own secrets";
inline constexpr std::string_view kContainer = "editors run its initializeCommand on this host";

/// Inside a folder that is a repository's own (".git", a bare one, a submodule's). `read_only` is false for what ordinary work
/// there has to write: it is looked at when the run ends.
struct GitRule {
  std::string_view name;
  std::string_view why;
  Content content = Content::whole;
  bool read_only = true;
};
inline constexpr GitRule kGitRules[] = {
    {"config", kGitConfig, Content::git_config},
    {"config.worktree", kGitConfig, Content::git_config},
    {"hooks", kGitHooks, Content::git_hooks},
    // A folder with this file in it takes config and hooks from another (gitrepository-layout(5)).
    {"commondir", kGitElsewhere},
    {"rebase-merge/git-rebase-todo", kGitTodo, Content::whole, false},
};

inline constexpr GuardRule kGuardRules[] = {
    {".envrc", Scope::anywhere, "direnv runs it when a shell enters the folder"},
    {".mise.toml", Scope::anywhere, kShell},
    {"mise.toml", Scope::anywhere, kShell},
    {".mise.local.toml", Scope::anywhere, kShell},
    {"mise.local.toml", Scope::anywhere, kShell},
    {".mise", Scope::anywhere, kShell},
    {".config/mise.toml", Scope::anywhere, kShell},
    {".config/mise", Scope::anywhere, kShell},
    {".rtx.toml", Scope::anywhere, kShell},
    {".tool-versions", Scope::anywhere,
     "a shell that enters the folder takes its programs from it"},
    {".autoenv.zsh", Scope::anywhere, kShell},
    {".vscode", Scope::anywhere, kEditor},
    {"*.code-workspace", Scope::anywhere, kEditor},
    {".idea", Scope::anywhere, kEditor},
    {".fleet", Scope::anywhere, kEditor},
    {".zed", Scope::anywhere, kEditor},
    {".exrc", Scope::anywhere, kEditor},
    {".nvimrc", Scope::anywhere, kEditor},
    {".nvim.lua", Scope::anywhere, kEditor},
    {".vimrc", Scope::anywhere, kEditor},
    {".dir-locals.el", Scope::anywhere, kEditor},
    {".gdbinit", Scope::anywhere, "debuggers run it"},
    {".lldbinit", Scope::anywhere, "debuggers run it"},
    {".cursor", Scope::anywhere, kAssistant},
    {".windsurf", Scope::anywhere, kAssistant},
    {".mcp.json", Scope::anywhere, kAssistant},
    {".claude/settings.json", Scope::anywhere, kAssistant},
    {".claude/settings.local.json", Scope::anywhere, kAssistant},
    {".claude/hooks", Scope::anywhere, kAssistant},
    {".gemini/settings.json", Scope::anywhere, kAssistant},
    {".codex/config.toml", Scope::anywhere, kAssistant},
    {".devcontainer", Scope::anywhere, kContainer},
    {".devcontainer.json", Scope::anywhere, kContainer},
    {".husky", Scope::anywhere, kGitHooks},
    {".githooks", Scope::anywhere, kGitHooks},
    {".pre-commit-config.yaml", Scope::anywhere, kHookTool},
    {"lefthook.yml", Scope::anywhere, kHookTool},
    {".lefthook.yml", Scope::anywhere, kHookTool},
    {"lefthook-local.yml", Scope::anywhere, kHookTool},
    {".lefthook-local.yml", Scope::anywhere, kHookTool},
    {".overcommit.yml", Scope::anywhere, kHookTool},
    {".github/workflows", Scope::roots, kCi},
    {".github/actions", Scope::roots, kCi},
    {".gitea/workflows", Scope::roots, kCi},
    {".forgejo/workflows", Scope::roots, kCi},
    {".gitlab-ci.yml", Scope::roots, kCi},
    {".circleci", Scope::roots, kCi},
    {".buildkite", Scope::roots, kCi},
    {".woodpecker", Scope::roots, kCi},
    {".woodpecker.yml", Scope::roots, kCi},
    {".drone.yml", Scope::roots, kCi},
    {".travis.yml", Scope::roots, kCi},
    {".teamcity", Scope::roots, kCi},
    {"appveyor.yml", Scope::roots, kCi},
    {"azure-pipelines.yml", Scope::roots, kCi},
    {"bitbucket-pipelines.yml", Scope::roots, kCi},
    {"Jenkinsfile", Scope::roots, kCi},
};

/// Full of what others wrote and tools replace as a whole. Only repositories are looked for in them: git executes what
/// the config of a nested one says, from `git status` of the outer one even.
inline constexpr std::string_view kDependencyFolders[] = {
    "node_modules", "bower_components", ".pnpm-store", ".venv",  "venv", ".tox",
    ".nox",         "__pycache__",      "vendor",      "target", "Pods", ".npm",
    ".cache",       ".gradle",          ".terraform"};

constexpr bool is_dependency_folder(std::string_view name) {
  return std::ranges::find(kDependencyFolders, name) != std::end(kDependencyFolders);
}

/// Whether the first component of the rule's name is `name`.
constexpr bool begins_with(const GuardRule& rule, std::string_view name) {
  if (rule.name.front() == '*') return name.ends_with(rule.name.substr(1));
  return rule.name.substr(0, rule.name.find('/')) == name;
}

}  // namespace pinhole::preflight
