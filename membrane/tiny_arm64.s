#include "textflag.h"

// The whole of a program without a runtime: see tiny.go. It uses nothing outside of these lines, the stack aside.

#define FCNTL 25
#define MOUNT 40
#define CLOSE 57
#define READ 63
#define WRITE 64
#define PPOLL 73
#define CAPSET 91
#define EXIT_GROUP 94
#define NANOSLEEP 101
#define KILL 129
#define RT_SIGACTION 134
#define PRCTL 167
#define EXECVE 221
#define PIDFD_OPEN 434

TEXT ·tiny<>(SB),NOSPLIT|NOFRAME,$0-0
	MOVD RSP, R19
	MOVD (R19), R20            // argc
	MOVD 8(R19), R21           // argv[0]
	MOVBU (R21), R22           // what to be, or a descriptor
	SUB $64, RSP
	MOVD RSP, R23
	CMP $112, R22              // p
	BEQ pause
	CMP $114, R22              // r
	BNE gate

	// Children that are left to it go without a trace.
	MOVD $1, R9                // SIG_IGN
	MOVD R9, (R23)
	MOVD ZR, 8(R23)
	MOVD ZR, 16(R23)
	MOVD ZR, 24(R23)
	MOVD $RT_SIGACTION, R8
	MOVD $17, R0               // SIGCHLD
	MOVD R23, R1
	MOVD $0, R2
	MOVD $8, R3
	SVC
	// Only a process of the namespace may mount its /proc.
	MOVD $MOUNT, R8
	MOVD 24(R19), R0           // argv[2]: proc
	MOVD 16(R19), R1           // argv[1]: where
	MOVD R0, R2
	MOVD $14, R3               // MS_NOSUID, MS_NODEV, MS_NOEXEC
	MOVD $0, R4
	SVC
	NEG R0, R20
	// From here on it has no right.
	MOVD $0x20080522, R9       // _LINUX_CAPABILITY_VERSION_3
	MOVD R9, 32(R23)
	MOVD ZR, (R23)
	MOVD ZR, 8(R23)
	MOVD ZR, 16(R23)
	MOVD $CAPSET, R8
	ADD $32, R23, R0
	MOVD R23, R1
	SVC
	CMP $0, R0
	BNE done
	// No filter is on it: what is in the cell must not write into its memory.
	MOVD $PRCTL, R8
	MOVD $4, R0                // PR_SET_DUMPABLE
	MOVD $0, R1
	SVC
	CMP $0, R0
	BNE done
	MOVD R20, (R23)
	MOVD $WRITE, R8
	MOVD $1, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	MOVD $CLOSE, R8
	MOVD $1, R0
	SVC
await:
	MOVD $READ, R8
	MOVD $0, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	CMN $4, R0                 // EINTR
	BEQ await
	CMP $1, R0
	BNE done                   // there will be no program
	MOVD $CLOSE, R8
	MOVD $0, R0
	SVC
	MOVD $PIDFD_OPEN, R8
	MOVD $2, R0                // the second process is the program, or ends with it
	MOVD $0, R1
	SVC
	CMP $0, R0
	BLT alone
	MOVD R0, R22
watch:
	MOVW R22, (R23)
	MOVD $1, R9                // POLLIN
	MOVW R9, 4(R23)
	MOVD $PPOLL, R8
	MOVD R23, R0
	MOVD $1, R1
	MOVD $0, R2
	MOVD $0, R3
	MOVD $8, R4
	SVC
	CMP $1, R0
	BNE watch
alone:
	MOVD $KILL, R8
	MOVD $-1, R0
	MOVD $0, R1
	SVC
	CMN $3, R0                 // ESRCH: nobody else is here
	BEQ done
	MOVD ZR, (R23)
	MOVD $1000000, R9
	MOVD R9, 8(R23)
	MOVD $NANOSLEEP, R8
	MOVD R23, R0
	MOVD $0, R1
	SVC
	B alone

pause:
	MOVD $READ, R8
	MOVD $0, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	CMN $4, R0
	BEQ pause
done:
	MOVD $0, R0
exit:
	MOVD $EXIT_GROUP, R8
	SVC
	BRK

gate:
	MOVD $READ, R8
	MOVD R22, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	CMN $4, R0
	BEQ gate
	MOVD R0, R9
	MOVD $226, R0
	CMP $1, R9
	BNE exit                   // the launcher is gone
	MOVD $FCNTL, R8
	MOVD R22, R0
	MOVD $2, R1                // F_SETFD
	MOVD $1, R2                // FD_CLOEXEC
	SVC
	ADD $1, R22
	MOVD $FCNTL, R8
	MOVD R22, R0
	MOVD $2, R1                // F_SETFD
	MOVD $1, R2                // FD_CLOEXEC
	SVC
	MOVD $EXECVE, R8
	MOVD 16(R19), R0           // argv[1]
	ADD $16, R19, R1           // argv from there on
	ADD R20<<3, R1, R2         // the environment lies behind its end
	SVC
	NEG R0, R0
	MOVD R0, (R23)
	MOVD $WRITE, R8
	MOVD R22, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	SUB $1, R22
said:
	MOVD $READ, R8             // until the launcher has said so: systemd would end it with this process
	MOVD R22, R0
	MOVD R23, R1
	MOVD $1, R2
	SVC
	CMN $4, R0
	BEQ said
	MOVD $203, R0
	B exit

// func tinyCode() *[tinySize]byte
TEXT ·tinyCode(SB),NOSPLIT,$0-8
	MOVD $·tiny<>(SB), R0
	MOVD R0, ret+0(FP)
	RET
