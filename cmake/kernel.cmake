# SPDX-License-Identifier: MIT
# The kernel images: hal/x86_64, the runtime, the core, and the Linux personality over port/kernel or without it.
#   farcall.elf        the shipped kernel (release builds)
#   farcall-core.elf   the same without Linux, which a user-level server then is (release builds)
#   farcall-test.elf   with Linux, tests and hooks for tests (tests/kernel); the only one in debug builds
# They share all objects except those of the core, whose checks the test kernel can switch off: the include path selects
# core/switched_off.hpp.
farcall_sources(BASE_SOURCES lib lib/bare/x86_64 hal/x86_64 rt rt/mem rt/remote port/kernel elf block drivers)
list(APPEND BASE_SOURCES ${CMAKE_SOURCE_DIR}/fs/cpio_find.cpp)
farcall_sources(LINUX_SOURCES
  ext4 fs linux linux/arch/x86_64 linux/exec linux/mm linux/procfs linux/signal linux/sys linux/task boot/with_linux)
list(REMOVE_ITEM LINUX_SOURCES ${CMAKE_SOURCE_DIR}/fs/cpio_find.cpp)
farcall_sources(WITHOUT_LINUX_SOURCES boot/without_linux)
farcall_sources(CHECKED_SOURCES core core/cap core/ipc boot/kernel)
farcall_sources(SHIPPED_SOURCES boot/shipped)
farcall_sources(TEST_SOURCES tests/kernel)
include(cmake/vdso.cmake)

add_library(kernel_options INTERFACE)
target_include_directories(kernel_options INTERFACE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/hal/x86_64/include ${CMAKE_SOURCE_DIR}/port/kernel/include ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
target_compile_options(kernel_options INTERFACE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS}
  -O2 -mcmodel=kernel -mno-red-zone -mno-sse -mno-sse2 -mno-mmx -mno-avx -fno-omit-frame-pointer -momit-leaf-frame-pointer)
if(CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(kernel_options INTERFACE FARCALL_DEBUG=1)
endif()

function(kernel_objects NAME)
  add_library(${NAME} OBJECT ${ARGN})
  target_link_libraries(${NAME} PRIVATE kernel_options)
  farcall_precompile(${NAME})
endfunction()
kernel_objects(kernel_base ${BASE_SOURCES})
kernel_objects(kernel_linux ${LINUX_SOURCES} ${VDSO_IMAGE})

function(kernel_image NAME OBJECTS)
  add_executable(${NAME} ${ARGN})
  target_link_libraries(${NAME} PRIVATE kernel_options kernel_base ${OBJECTS})
  farcall_precompile(${NAME})
  target_link_options(${NAME} PRIVATE -nostdlib -static -no-pie -fuse-ld=lld
    -Wl,-T,${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld -Wl,--gc-sections -Wl,-z,max-page-size=4096 -Wl,--build-id=none)
  set_target_properties(${NAME} PROPERTIES LINKER_LANGUAGE CXX LINK_DEPENDS ${CMAKE_SOURCE_DIR}/hal/x86_64/kernel.ld)
endfunction()
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  kernel_objects(kernel_shipped ${CHECKED_SOURCES} ${SHIPPED_SOURCES})
  target_include_directories(kernel_shipped PRIVATE ${CMAKE_SOURCE_DIR}/core/include)
  kernel_image(farcall.elf kernel_linux $<TARGET_OBJECTS:kernel_shipped>)
  kernel_image(farcall-core.elf "" $<TARGET_OBJECTS:kernel_shipped> ${WITHOUT_LINUX_SOURCES})
endif()
kernel_image(farcall-test.elf kernel_linux ${CHECKED_SOURCES} ${TEST_SOURCES})
target_include_directories(farcall-test.elf PRIVATE ${CMAKE_SOURCE_DIR}/tests/kernel/include)
# A check that is switched off may let a null pointer through: using it must fault, not be undefined behaviour.
target_compile_options(farcall-test.elf PRIVATE -fno-delete-null-pointer-checks)

# The leaf tier (docs/architecture.md, section 6) is counted in single instructions, so in release builds its functions
# keep no frame pointer. The chain of frames stays intact; a backtrace only omits these functions. Debug builds show
# them all.
if(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  farcall_sources(HOT_SOURCES linux/sys linux/mm fs rt/mem core/ipc)
  list(APPEND HOT_SOURCES ${CMAKE_SOURCE_DIR}/core/trap.cpp ${CMAKE_SOURCE_DIR}/port/kernel/user_thread.cpp
    ${CMAKE_SOURCE_DIR}/port/kernel/trap.cpp ${CMAKE_SOURCE_DIR}/port/kernel/remote_home.cpp ${CMAKE_SOURCE_DIR}/port/kernel/remote_serve.cpp
    ${CMAKE_SOURCE_DIR}/linux/personality.cpp)
  set_source_files_properties(${HOT_SOURCES} PROPERTIES COMPILE_OPTIONS -fomit-frame-pointer)
endif()
