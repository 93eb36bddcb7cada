/* Starts the bundled Python, wherever the bundle's folder lies, on any Linux of the machine's architecture.
 *
 * Linked statically, because the image may have no C library, or another one. The bundle's own dynamic loader gets its
 * library path as an argument: a variable such as LD_LIBRARY_PATH would reach the job.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char *in_bundle(const char *folder, const char *name) {
    char *path = malloc(strlen(folder) + strlen(name) + 2);
    if (path == NULL) {
        perror("openlineage-pod");
        exit(126);
    }
    sprintf(path, "%s/%s", folder, name);
    return path;
}

int main(int count, char **arguments) {
    char folder[4096];
    ssize_t length = readlink("/proc/self/exe", folder, sizeof folder - 1);
    if (length < 0) {
        perror("openlineage-pod: /proc/self/exe");
        return 126;
    }
    folder[length] = '\0';
    *strrchr(folder, '/') = '\0';

    char *loader = in_bundle(folder, "lib/ld.so");
    char *fixed[] = {loader, "--library-path", in_bundle(folder, "lib"), in_bundle(folder, "bin/python3"),
                     /* No variable and no folder of the user's takes part. */
                     "-I", "-S", "-X", "utf8", in_bundle(folder, "main.py")};
    size_t fixed_count = sizeof fixed / sizeof *fixed;
    char **command = calloc(fixed_count + count, sizeof *command);
    if (command == NULL) {
        perror("openlineage-pod");
        return 126;
    }
    memcpy(command, fixed, sizeof fixed);
    memcpy(command + fixed_count, arguments + 1, (count - 1) * sizeof *command);
    execv(loader, command);
    perror("openlineage-pod: the bundle is not complete");
    return 126;
}
