// script/gpu as far as it goes without a GPU: what it says of a machine that has none, and that a run that is cut off leaves a folder to read.
#include <gmock/gmock.h>

#include <filesystem>

#include "command.h"

namespace {

using testing::HasSubstr;

class GpuScript : public espalier::apps::CommandTest {
 protected:
  Result script(const std::string& environment, const std::string& command = ESPALIER_BINARY_DIR "/espalier") const {
    const std::string line = "cd '" + folder_.string() + "' && ESPALIER='" + command + "' " + environment +
                             " '" ESPALIER_SOURCE_DIR "/script/gpu' out >stdout.txt 2>stderr.txt";
    const int status = std::system(line.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), read("stdout.txt"), read("stderr.txt")};
  }
};

TEST_F(GpuScript, SaysThereIsNoDeviceAndLeavesNothing) {
  const Result result = script("");
  EXPECT_EQ(result.code, 4) << result.err;
  EXPECT_THAT(result.err, HasSubstr("CUDA"));
  EXPECT_FALSE(exists("out"));
}

TEST_F(GpuScript, CutOffDryRunsLeaveASummaryOfWhatTheyReached) {
  // However fast the machine: one of the parts takes all the time there is.
  write("slow", "#!/bin/sh\ncase \"$*\" in *check-fp16*) sleep 7 ;; esac\nexec '" ESPALIER_BINARY_DIR "/espalier' \"$@\"\n");
  std::filesystem::permissions(folder_ / "slow", std::filesystem::perms::owner_all);
  const Result result = script("ESPALIER_GPU_DRY=h100-sxm ESPALIER_GPU_SECONDS=6", "./slow");
  EXPECT_EQ(result.code, 0) << result.err;
  const std::string summary = read("out/summary.md");
  EXPECT_THAT(summary, HasSubstr("# h100-sxm (nothing ran: predictions)"));
  EXPECT_THAT(summary, HasSubstr("* check-8-2-128-plain:"));
  EXPECT_THAT(summary, HasSubstr("## Not reached, or ended early"));
  EXPECT_THAT(summary, HasSubstr("time-32-8-shapes: out of time"));
  EXPECT_TRUE(exists("out/check-8-2-128-plain/results.csv"));
}

}  // namespace
