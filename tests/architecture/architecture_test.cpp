// The shape of the house, checked on the sources themselves: include arrows, heavy headers, one line a strategy, short
// lines and files.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <istream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "scheduler/strategy.h"

namespace {

namespace fs = std::filesystem;

/// Folders each folder may include, besides itself.
const std::map<std::string, std::set<std::string>> kAllowed = {
    {"core", {}},
    {"traces", {"core"}},
    {"costmodel", {"core", "traces"}},
    {"scheduler", {"core", "traces", "costmodel"}},
    {"sim", {"core", "traces", "costmodel", "scheduler"}},
    {"kernels", {"core", "traces", "costmodel", "scheduler"}},
    {"viz", {"core", "traces", "costmodel", "scheduler", "sim"}},
    {"apps", {"core", "traces", "costmodel", "scheduler", "sim", "kernels", "viz"}},
};

std::vector<fs::path> sources(const std::string& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(fs::path(ESPALIER_SOURCE_DIR) / folder)) {
    const auto extension = entry.path().extension();
    if (extension == ".h" || extension == ".cpp" || extension == ".cu" || extension == ".cuh") {
      files.push_back(entry.path());
    }
  }
  return files;
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_with(const fs::path& path, const std::string& prefix) {
  std::ifstream file(path);
  std::vector<std::string> found;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(prefix)) found.push_back(line.substr(prefix.size()));
  }
  return found;
}

/// Types a file defines with external linkage, each with its namespace. Two definitions of one name are one type to the
/// linker, which then picks either's members without a word.
std::vector<std::string> types_of(std::istream& text) {
  std::vector<std::string> types;
  std::string space;
  bool unnamed = false;
  for (std::string line; std::getline(text, line);) {
    if (line == "namespace {") unnamed = true;
    if (line == "}  // namespace") unnamed = false;
    if (line.starts_with("namespace ") && line != "namespace {") space = line.substr(10, line.find(" {") - 10);
    for (const std::string kind : {"struct ", "class ", "enum class "}) {
      if (unnamed || !line.starts_with(kind) || line.ends_with(";")) continue;
      std::string rest = line.substr(kind.size());
      if (rest.starts_with("alignas(")) rest = rest.substr(rest.find(") ") + 2);
      types.push_back(space + "::" + rest.substr(0, rest.find_first_of(" {<")));
    }
  }
  return types;
}

/// What is wrong with the includes of one file in `folder`; empty when nothing is.
std::string wrong_include(const std::string& folder, const std::string& included) {
  const auto slash = included.find('/');
  if (slash == std::string::npos) return "a quoted include without its folder";
  const std::string target = included.substr(0, slash);
  if (target == folder || !kAllowed.contains(target)) return target == folder ? "" : "an unknown folder";
  return kAllowed.at(folder).contains(target) ? "" : "an include against the arrows";
}

/// Of UTF-8: all bytes but those that continue a character.
std::ptrdiff_t characters(const std::string& line) {
  return std::count_if(line.begin(), line.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; });
}

/// What is too long in a source; empty when nothing is.
std::string too_long(std::istream& text) {
  constexpr int kMostCharacters = 120, kMostLines = 400;
  int number = 0, filled = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    filled += line.find_first_not_of(" \t\r") != std::string::npos ? 1 : 0;
    if (characters(line) > kMostCharacters) return "line " + std::to_string(number);
  }
  return filled > kMostLines ? std::to_string(filled) + " lines" : "";
}

TEST(Architecture, IncludesFollowTheArrows) {
  for (const auto& [folder, allowed] : kAllowed) {
    ASSERT_FALSE(sources(folder).empty()) << folder;
    for (const fs::path& file : sources(folder)) {
      for (const std::string& rest : lines_with(file, "#include \"")) {
        const std::string included = rest.substr(0, rest.find('"'));
        EXPECT_EQ(wrong_include(folder, included), "") << file << " includes " << included;
      }
    }
  }
}

TEST(Architecture, CheckerSeesAnIncludeAgainstTheArrows) {
  EXPECT_EQ(wrong_include("sim", "scheduler/plan.h"), "");
  EXPECT_NE(wrong_include("scheduler", "sim/simulator.h"), "");
  EXPECT_NE(wrong_include("sim", "kernels/oracle.h"), "");
  EXPECT_NE(wrong_include("core", "traces/replay.h"), "");
}

TEST(Architecture, NoTypeIsDefinedTwice) {
  std::map<std::string, fs::path> definitions;
  for (const auto& [folder, allowed] : kAllowed) {
    for (const fs::path& file : sources(folder)) {
      std::ifstream text(file);
      for (const std::string& type : types_of(text)) {
        const auto [first, is_new] = definitions.emplace(type, file);
        EXPECT_TRUE(is_new) << type << " is defined in " << first->second << " and in " << file;
      }
    }
  }
  EXPECT_TRUE(definitions.contains("espalier::scheduler::Plan"));
}

TEST(Architecture, TypesOfUnnamedNamespacesAndDeclarationsAreNotCounted) {
  std::istringstream text(
      "namespace a::b {\nstruct X;\nstruct Y {\nnamespace {\nclass Z : Y {\n}  // namespace\nenum class E : int {\n");
  EXPECT_EQ(types_of(text), (std::vector<std::string>{"a::b::Y", "a::b::E"}));
}

TEST(Architecture, LinesAndFilesAreShort) {
  std::vector<std::string> folders = {"tests"};
  for (const auto& [folder, allowed] : kAllowed) folders.push_back(folder);
  for (const std::string& folder : folders) {
    for (const fs::path& file : sources(folder)) {
      std::ifstream text(file);
      EXPECT_EQ(too_long(text), "") << file;
    }
  }
}

TEST(Architecture, LengthsAreCountedInCharactersAndInLinesThatSaySomething) {
  const auto found = [](const std::string& source) {
    std::istringstream text(source);
    return too_long(text);
  };
  std::string wide, lines;
  for (int i = 0; i < 120; ++i) wide += "…";
  for (int i = 0; i < 400; ++i) lines += "a;\n  \n";
  EXPECT_EQ(found("short\n" + wide), "");
  EXPECT_EQ(found("short\n" + wide + "."), "line 2");
  EXPECT_EQ(found(lines), "");
  EXPECT_EQ(found(lines + "b;\n"), "401 lines");
}

TEST(Architecture, HeavyLibrariesStayOutOfHeaders) {
  for (const auto& [folder, allowed] : kAllowed) {
    for (const fs::path& file : sources(folder)) {
      if (file.extension() != ".h") continue;
      for (const std::string& included : lines_with(file, "#include <")) {
        for (const char* heavy : {"nlohmann", "boost/", "Eigen", "CLI/"}) {
          EXPECT_EQ(included.find(heavy), std::string::npos) << file << " includes <" << included;
        }
      }
    }
  }
}

TEST(Architecture, LibrariesNeitherPrintNorExit) {
  for (const auto& [folder, allowed] : kAllowed) {
    if (folder == "apps") continue;
    for (const fs::path& file : sources(folder)) {
      const std::string text = text_of(file);
      for (const char* forbidden : {"std::exit(", "std::abort(", "std::cout", "std::cerr", "fmt::print(", "printf("}) {
        EXPECT_EQ(text.find(forbidden), std::string::npos) << file << " uses " << forbidden;
      }
    }
  }
}

TEST(Architecture, OnlyTheWindowKnowsItsLibraries) {
  for (const auto& [folder, allowed] : kAllowed) {
    for (const fs::path& file : sources(folder)) {
      const std::string place = fs::relative(file, ESPALIER_SOURCE_DIR).string();
      const bool window =
          place.starts_with("viz/ui/") || place.starts_with("viz/soft/") || place.starts_with("viz/app/");
      const std::string text = text_of(file);
      for (const char* name : {"ImGui::", "<imgui", "<GLFW", "<GL/", "<png.h>"}) {
        EXPECT_TRUE(window || text.find(name) == std::string::npos) << place << " uses " << name;
      }
    }
  }
}

TEST(Architecture, CoreHasAtMostEightHeaders) {
  int headers = 0;
  for (const fs::path& file : sources("core")) headers += file.extension() == ".h";
  EXPECT_LE(headers, 8);
}

TEST(Architecture, EveryStrategyIsOneFileAndOneLineOfTheTable) {
  std::set<std::string> files;
  for (const fs::path& file : sources("scheduler/strategies")) {
    if (file.extension() == ".cpp") files.insert(file.stem().string());
  }
  for (const auto* strategy : espalier::scheduler::strategies()) {
    EXPECT_TRUE(files.contains(std::string(strategy->info().name))) << strategy->info().name;
  }
}

TEST(Architecture, OnlyFourInterfacesAreVirtual) {
  std::set<std::string> interfaces;
  for (const auto& [folder, allowed] : kAllowed) {
    for (const fs::path& file : sources(folder)) {
      if (file.extension() == ".h" && text_of(file).find("virtual ~") != std::string::npos) {
        interfaces.insert(file.filename().string());
      }
    }
  }
  const std::set<std::string> known = {"cost_model.h", "strategy.h", "executor.h", "scene_sink.h"};
  for (const std::string& name : interfaces) EXPECT_TRUE(known.contains(name)) << name;
}

}  // namespace
