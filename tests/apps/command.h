// Runs the built `espalier` command and keeps what a user would see.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

namespace espalier::apps {

inline std::string file_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

/// A folder of its own for each test, removed at the end.
class CommandTest : public ::testing::Test {
 protected:
  void SetUp() override {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::temp_directory_path() / (std::string("espalier_") + test->test_suite_name() + "_" +
                                                        test->name() + "_" + std::to_string(getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  struct Result {
    int code;
    std::string out, err;
  };

  /// `arguments` as typed in a shell, in the test's folder.
  Result run(const std::string& arguments) const {
    const std::string line = "cd '" + folder_.string() + "' && '" ESPALIER_BINARY_DIR "/espalier' " + arguments +
                             " >stdout.txt 2>stderr.txt";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), file_text(folder_ / "stdout.txt"),
            file_text(folder_ / "stderr.txt")};
  }

  void write(const std::string& name, const std::string& content) const {
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  std::string read(const std::string& name) const { return file_text(folder_ / name); }
  bool exists(const std::string& name) const { return std::filesystem::exists(folder_ / name); }
  /// Files in the folder besides the captured streams: temporary leftovers show up here.
  std::size_t files() const {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const auto name = entry.path().filename().string();
      n += name != "stdout.txt" && name != "stderr.txt";
    }
    return n;
  }

  std::filesystem::path folder_;
};

}  // namespace espalier::apps
